//! The texts by which a cluster names images.

use crate::oci::{Algorithm, Digest, Tag};

/// What a name without tag and digest means.
const DEFAULT_TAG: &str = "latest";

/// Where images without an owner lie at the registry that names without a host mean.
const LIBRARY: &str = "library";

/// What a text means that a workload, or a container runtime, names an image by.
///
/// A text that names no image means nothing; that is no error, for shapes that nobody knows yet must not stop a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    digest: Option<Digest>,
    name: Option<TaggedName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TaggedName {
    /// Host, port and path, as they were written.
    path: String,
    tag: Tag,
}

impl ImageReference {
    /// Reads one of the forms `[scheme://][host[:port]/]path[:tag][@digest]`, a digest alone, or the 64 hexadecimal
    /// characters of one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        if let Some(digest) = bare_digest(text) {
            return Self { digest: Some(digest), name: None };
        }
        let (name, digest) = match text.rsplit_once('@') {
            Some((name, digest)) => (name, bare_digest(digest)),
            None => (text, None),
        };
        Self { name: TaggedName::parse(name, digest.is_some()), digest }
    }

    /// The content that is meant: an image's, an index's, or a config's.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Every `repository:tag` of a registry that may be meant: with and without the host, and without leading
    /// components of the path, since mirrors and ingresses add some; and in `library/`, where a name of one
    /// component may lie.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.name.iter().flat_map(|name| {
            let paths = std::iter::successors(Some(name.path.as_str()), |path| Some(path.split_once('/')?.1));
            let last = name.path.rsplit('/').next().unwrap_or_default();
            let in_library = std::iter::once(format!("{LIBRARY}/{last}:{}", name.tag));
            paths.map(|path| format!("{path}:{}", name.tag)).chain(in_library)
        })
    }
}

impl TaggedName {
    /// A name without a tag means the default one, unless a digest says what is meant.
    fn parse(text: &str, has_digest: bool) -> Option<Self> {
        let component = text.rfind('/').map_or(0, |slash| slash + 1);
        let colon = text.get(component..)?.rfind(':').map(|colon| component + colon);
        let (path, tag) = match colon {
            Some(colon) => (text.get(..colon)?, text.get(colon + 1..)?),
            None if has_digest => return None,
            None => (text, DEFAULT_TAG),
        };
        let tag = tag.parse().ok()?;
        (!path.is_empty()).then(|| Self { path: path.to_owned(), tag })
    }
}

/// A digest, or the hexadecimal characters of one: no repository may be called that.
fn bare_digest(text: &str) -> Option<Digest> {
    text.parse().ok().or_else(|| format!("{}:{text}", Algorithm::Sha256).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "3b1d5f0e8c9a7b6d4e2f1a0c9b8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d";

    /// Parses `text`, in which `HEX` stands for a digest's characters; says whether it has the digest, and the names.
    fn parsed(text: &str) -> (bool, Vec<String>) {
        let reference = ImageReference::parse(&text.replace("HEX", HEX));
        let digest = format!("sha256:{HEX}").parse().unwrap();
        assert!(reference.digest().is_none_or(|found| *found == digest), "{text}");
        (reference.digest().is_some(), reference.names().collect())
    }

    #[test]
    fn forms_that_runtimes_report_are_read() {
        let none: &[&str] = &[];
        let pause: &[&str] = &["registry.k8s.io/pause:3.10", "pause:3.10", "library/pause:3.10"];
        let nginx: &[&str] = &[
            "docker.io/library/nginx:1.27",
            "library/nginx:1.27",
            "nginx:1.27",
            // A name of one component, once more.
            "library/nginx:1.27",
        ];
        for (text, digest, names) in [
            // imageID of containerd 1.6, 1.7 and 2.x: the name and the digest of what the name led to.
            ("docker.io/library/nginx@sha256:HEX", true, none),
            ("registry.example.com:5000/team/app@sha256:HEX", true, none),
            // imageID of containerd for an image without a name, such as one that was imported.
            ("sha256:HEX", true, none),
            // image of containerd where the name has moved on since.
            ("sha256:HEX", true, none),
            // image of containerd, otherwise.
            ("docker.io/library/nginx:1.27", false, nginx),
            ("registry.k8s.io/pause:3.10", false, pause),
            // imageID of CRI-O: of late the id of the image, before that the name and the digest.
            ("HEX", true, none),
            ("quay.io/crio/hello@sha256:HEX", true, none),
            // imageID of dockershim, and of cri-dockerd.
            ("docker-pullable://registry.k8s.io/pause@sha256:HEX", true, none),
            ("docker://sha256:HEX", true, none),
        ] {
            assert_eq!(parsed(text), (digest, names.iter().map(|name| (*name).to_owned()).collect()), "{text}");
        }
    }

    #[test]
    fn forms_that_people_write_are_read() {
        for (text, digest, name) in [
            ("app", false, Some("app:latest")),
            ("team/app", false, Some("team/app:latest")),
            ("localhost:5000/app", false, Some("app:latest")),
            ("10.0.0.1:30500/team/app:v1", false, Some("team/app:v1")),
            ("[fd00::1]:5000/team/app:v1", false, Some("team/app:v1")),
            ("registry.example.com/mirror/team/app:v1@sha256:HEX", true, Some("team/app:v1")),
            ("registry.example.com:5000/team/app@sha256:HEX", true, None),
            (" team/app:v1\n", false, Some("team/app:v1")),
            // A digest that is none does not take the tag's meaning away.
            ("team/app:v1@sha256:123", false, Some("team/app:v1")),
            ("team/app@md5:123", false, Some("team/app:latest")),
        ] {
            let (has_digest, names) = parsed(text);
            assert_eq!(has_digest, digest, "{text}");
            match name {
                Some(name) => assert!(names.iter().any(|found| found == name), "{text} is not {name}: {names:?}"),
                None => assert_eq!(names, Vec::<String>::new(), "{text}"),
            }
        }
    }

    #[test]
    fn texts_that_name_no_image_mean_nothing() {
        for text in ["", " ", ":", "app:", ":v1", "app:a tag", "host:5000/", "@", "/"] {
            let (digest, names) = parsed(text);
            let repositories = names.iter().filter_map(|name| name.rsplit_once(':')).map(|(repository, _)| repository);
            let valid = repositories.filter(|name| name.parse::<crate::oci::RepositoryName>().is_ok()).count();
            assert!(!digest && (valid == 0 || text == "host:5000/"), "{text:?}: {names:?}");
        }
    }

    #[test]
    fn every_leading_component_may_be_a_mirrors() {
        let (_, names) = parsed("mirror/prefix/team/app:1");
        let expected = ["mirror/prefix/team/app:1", "prefix/team/app:1", "team/app:1", "app:1", "library/app:1"]
            .map(str::to_owned);
        assert_eq!(names, expected);
    }
}
