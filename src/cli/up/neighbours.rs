//! Registries that lie in the data folder and are not served. Without files `lagan up` serves the data folder itself, and
//! with files the folders below it: whoever changes from one to the other would look for images where there are none.

use std::{net::SocketAddr, path::Path};

use crate::cli::registry_folder::registries_below;
use crate::storage::Catalog;

use super::site::{Place, Site, nth_address};

/// A line for each of them, with how it can be served.
pub(super) fn notes(place: &Place, served: &[&Site]) -> Vec<String> {
    let data = place.data.as_path();
    let is_served = |folder: &Path| served.iter().any(|site| site.folder == folder);
    let own = (Catalog::lies_in(data) && !is_served(data)).then(|| of_no_file(data, place.listen, served.len()));
    let below = registries_below(data).into_iter().filter(|folder| !is_served(folder));
    own.into_iter().chain(below.map(|folder| of_a_file(data, &folder))).collect()
}

fn of_no_file(data: &Path, listen: SocketAddr, served: usize) -> String {
    let beside = nth_address("--listen", listen, served).unwrap_or(listen);
    format!(
        "{data} holds what `lagan up` without -f serves, and it is not served now: `lagan up --data {data} --listen {beside}` \
         serves it beside this, and `lagan import` copies from it",
        data = data.display()
    )
}

fn of_a_file(data: &Path, folder: &Path) -> String {
    let name = folder.strip_prefix(data).unwrap_or(folder);
    format!(
        "{} holds a registry, and it is not served now: `lagan up -f FILE` with the Registry {} in the file serves it",
        folder.display(),
        name.display()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn place(data: &Path) -> Place {
        Place {
            listen: "127.0.0.1:5000".parse().unwrap(),
            health_listen: None,
            data: data.to_owned(),
            allow_anonymous: false,
        }
    }

    #[test]
    fn registry_of_the_other_way_to_start_is_named_with_what_serves_it() {
        let data = tempfile::tempdir().unwrap();
        let place = place(data.path());
        let site = place.default_site().unwrap();
        assert_eq!(notes(&place, &[&site]), Vec::<String>::new());

        let images = data.path().join("default/images");
        for folder in [data.path(), &images] {
            fs::create_dir_all(folder.join("docker/registry/v2/repositories")).unwrap();
        }
        let notes_of_none = notes(&place, &[&site]);
        assert_eq!(notes_of_none.len(), 1);
        assert!(notes_of_none[0].contains("-f FILE` with the Registry default/images"), "{notes_of_none:?}");

        let of_file = Site { folder: images, ..site };
        let notes_of_file = notes(&place, &[&of_file]);
        assert_eq!(notes_of_file.len(), 1);
        let command = format!("`lagan up --data {} --listen 127.0.0.1:5001`", data.path().display());
        assert!(notes_of_file[0].contains(&command), "{notes_of_file:?}");
    }
}
