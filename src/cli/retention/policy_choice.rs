//! Which policies a command means, and which others count beside them.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::api::Validator;
use crate::api::wire::PolicySource;

use crate::cli::exit::InvalidUsage;
use crate::cli::objects::{Key, Objects};
use crate::cli::site_policy;

/// The longest text that is taken from standard input, in bytes: thousands of policies.
const MAX_INPUT: u64 = 16 << 20;

/// Some policies of one registry.
#[derive(Debug)]
pub(super) struct PolicyChoice {
    /// All that count: what any of them keeps is kept.
    pub(super) all: Vec<PolicySource>,
    /// Those that are meant.
    pub(super) chosen: Vec<PolicySource>,
}

impl PolicyChoice {
    /// Of these, the one with this name (`NAME` or `NAMESPACE/NAME`), or all.
    ///
    /// # Errors
    /// [`InvalidUsage`] where none has the name, or several have.
    pub(super) fn among(all: Vec<PolicySource>, name: Option<&str>) -> Result<Self, InvalidUsage> {
        let chosen = chosen(&all, name)?;
        Ok(Self { all, chosen })
    }

    /// Of the policies in files. All that are for the same registry count.
    ///
    /// # Errors
    /// [`InvalidUsage`] with the file, the object and the field; as [`Self::among`]; and where those that are meant are for
    /// several registries.
    pub(super) fn of_files(files: &[PathBuf], name: Option<&str>) -> anyhow::Result<Self> {
        let texts =
            files.iter().map(|file| Ok((file.clone(), read(file)?))).collect::<Result<Vec<_>, InvalidUsage>>()?;
        let validator = Validator::new().context("could not make the definitions")?;
        Ok(Self::declared(&Objects::read(&texts, &validator, None)?, name)?)
    }

    fn declared(objects: &Objects, name: Option<&str>) -> Result<Self, InvalidUsage> {
        let registry_of = |(namespace, _): &Key, registry: &str| (namespace.clone(), registry.to_owned());
        let keys = objects.policies.iter().map(|(key, policy)| registry_of(key, &policy.object.spec.registry_ref.name));
        let keys: BTreeSet<Key> = keys.collect();
        let mut by_registry = Vec::new();
        for key in keys {
            let policies = site_policy::policies(objects, &key)?;
            by_registry.push((key, policies.into_iter().map(|policy| policy.source).collect::<Vec<_>>()));
        }
        let every: Vec<PolicySource> = by_registry.iter().flat_map(|(_, policies)| policies).cloned().collect();
        if every.is_empty() {
            return Err(InvalidUsage("the files hold no RetentionPolicy".to_owned()));
        }
        let chosen = chosen(&every, name)?;
        let is_meant =
            |(_, policies): &&(Key, Vec<PolicySource>)| policies.iter().any(|policy| chosen.contains(policy));
        let meant: Vec<_> = by_registry.iter().filter(is_meant).collect();
        let [(_, all)] = meant.as_slice() else {
            let names: Vec<String> = meant.iter().map(|((namespace, name), _)| format!("{namespace}/{name}")).collect();
            return Err(InvalidUsage(format!(
                "the files have policies of several Registries ({}), and one is asked: say which policy",
                names.join(", ")
            )));
        };
        Ok(Self { all: all.clone(), chosen })
    }
}

fn chosen(all: &[PolicySource], name: Option<&str>) -> Result<Vec<PolicySource>, InvalidUsage> {
    let Some(name) = name else { return Ok(all.to_vec()) };
    let full = |policy: &PolicySource| format!("{}/{}", policy.namespace, policy.name);
    let is_meant = |policy: &&PolicySource| policy.name == name || full(policy) == name;
    let chosen: Vec<PolicySource> = all.iter().filter(is_meant).cloned().collect();
    match chosen.as_slice() {
        [_] => Ok(chosen),
        [] => {
            let names: Vec<String> = all.iter().map(full).collect();
            Err(InvalidUsage(format!("there is no policy {name}; there are: {}", names.join(", "))))
        }
        _ => Err(InvalidUsage(format!("several policies are called {name}: write NAMESPACE/NAME"))),
    }
}

fn read(file: &Path) -> Result<String, InvalidUsage> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().take(MAX_INPUT).read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    text.map_err(|error| InvalidUsage(format!("{}: could not be read: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(namespace: &str, name: &str, registry: &str) -> String {
        format!(
            "---\napiVersion: lagan.dev/v1alpha1\nkind: RetentionPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{registryRef: {{name: {registry}}}, keep: [{{name: all, tags: ['*'], always: {{}}}}]}}\n"
        )
    }

    fn choose(texts: &[String], name: Option<&str>) -> Result<(usize, Vec<String>), String> {
        let texts = [(PathBuf::from("f"), texts.concat())];
        let objects = Objects::read(&texts, &Validator::new().unwrap(), None).map_err(|error| error.0)?;
        let choice = PolicyChoice::declared(&objects, name).map_err(|error| error.0)?;
        Ok((choice.all.len(), choice.chosen.into_iter().map(|policy| policy.uid).collect()))
    }

    #[test]
    fn policies_of_the_same_registry_count_and_those_that_are_named_are_chosen() {
        let files = [policy("a", "p", "r"), policy("a", "q", "r"), policy("b", "p", "s")];
        assert_eq!(choose(&files, Some("q")), Ok((2, vec!["a.q".to_owned()])));
        assert_eq!(choose(&files, Some("b/p")), Ok((1, vec!["b.p".to_owned()])));
        assert_eq!(choose(&files[..2], None), Ok((2, vec!["a.p".to_owned(), "a.q".to_owned()])));
        for (name, words) in
            [(None, "a/r, b/s"), (Some("p"), "NAMESPACE/NAME"), (Some("x"), "there are: a/p, a/q, b/p")]
        {
            let error = choose(&files, name).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(choose(&[], None).unwrap_err().contains("no RetentionPolicy"));
        let wrong = policy("a", "p", "r").replace("always: {}", "mostRecentlyPushed: 0");
        assert!(choose(&[wrong], None).unwrap_err().contains("mostRecentlyPushed"));
    }
}
