//! `${provider:path:key}` in a value, as `config.providers` of the worker's file defines it.
//!
//! Values are filled in when they are used and are not looked into again. A provider that nobody
//! defined, or a key that it does not have, leaves the text as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::properties::Properties;

/// The providers of one worker.
#[derive(Default)]
pub(super) struct Providers {
    by_name: BTreeMap<String, Provider>,
}

enum Provider {
    /// `${name:/path/to/file.properties:key}`
    File { allowed: Option<Vec<PathBuf>> },
    /// `${name:/path/to/directory:file}`
    Directory { allowed: Option<Vec<PathBuf>> },
    /// `${name:VARIABLE}`
    Environment { allowed: Option<fancy_regex::Regex> },
}

/// The classes of `config.providers.<name>.class`.
pub(super) const CLASSES: &[&str] = &[
    "org.apache.kafka.common.config.provider.FileConfigProvider",
    "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
    "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
];

/// A value with its variables filled in.
pub(super) struct Resolved {
    pub(super) value: String,
    /// Whether anything was filled in: then the value may be a secret, and is not printed.
    pub(super) is_filled: bool,
    /// Variables left as they are, and why.
    pub(super) left: Vec<String>,
}

impl Providers {
    /// The providers that `worker` defines.
    ///
    /// Errors: property and what is wrong with it.
    pub(super) fn new(worker: &Properties) -> Result<Self, Vec<(String, String)>> {
        let mut by_name = BTreeMap::new();
        let mut faults = Vec::new();
        let names = worker.get("config.providers").unwrap_or_default();
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let property = format!("config.providers.{name}.class");
            let class = worker.get(&property).map(str::trim);
            let parameter = |parameter: &str| {
                let property = format!("config.providers.{name}.param.{parameter}");
                worker.get(&property).map(|value| (property.clone(), value))
            };
            let allowed = || {
                let (_, paths) = parameter("allowed.paths")?;
                Some(
                    paths
                        .split(',')
                        .map(|path| PathBuf::from(path.trim()))
                        .collect(),
                )
            };
            let provider = match CLASSES.iter().position(|&known| Some(known) == class) {
                Some(0) => Provider::File { allowed: allowed() },
                Some(1) => Provider::Directory { allowed: allowed() },
                Some(_) => {
                    let pattern = parameter("allowlist.pattern").map(|(property, pattern)| {
                        fancy_regex::Regex::new(&format!("^(?:{pattern})$"))
                            .map_err(|error| (property, error.to_string()))
                    });
                    match pattern.transpose() {
                        Ok(allowed) => Provider::Environment { allowed },
                        Err(fault) => {
                            faults.push(fault);
                            continue;
                        }
                    }
                }
                None => {
                    faults.push((
                        property,
                        match class {
                            None => format!(
                                "A value is required, since config.providers names {name}: {}",
                                CLASSES.join(", ")
                            ),
                            Some(_) => format!("Value must be one of {}", CLASSES.join(", ")),
                        },
                    ));
                    continue;
                }
            };
            by_name.insert(name.to_owned(), provider);
        }
        if faults.is_empty() {
            Ok(Self { by_name })
        } else {
            Err(faults)
        }
    }

    /// Fills in the variables of one value.
    ///
    /// Errors: what a provider could not read, or may not.
    pub(super) fn resolve(&self, text: &str) -> Result<Resolved, String> {
        let mut resolved = Resolved {
            value: String::with_capacity(text.len()),
            is_filled: false,
            left: Vec::new(),
        };
        let mut rest = text;
        while let Some(variable) = Variable::find(rest) {
            let (before, tail) = rest.split_at(variable.start);
            let (written, tail) = tail.split_at(variable.length);
            resolved.value.push_str(before);
            rest = tail;
            let value = match self.by_name.get(variable.provider) {
                Some(provider) => provider.value(variable.path, variable.key)?,
                None => None,
            };
            match value {
                Some(value) => {
                    resolved.value.push_str(&value);
                    resolved.is_filled = true;
                }
                None => {
                    resolved.value.push_str(written);
                    resolved.left.push(if self.by_name.contains_key(variable.provider) {
                        format!("{written} is left as it is: there is no such key")
                    } else {
                        format!(
                            "{written} is left as it is: the worker's config.providers has no `{}`",
                            variable.provider
                        )
                    });
                }
            }
        }
        resolved.value.push_str(rest);
        Ok(resolved)
    }
}

/// `${provider:path:key}` or `${provider:key}`, found in a text.
struct Variable<'t> {
    start: usize,
    length: usize,
    provider: &'t str,
    path: &'t str,
    key: &'t str,
}

impl<'t> Variable<'t> {
    /// The first one: a `${` with a colon before its `}`.
    fn find(text: &'t str) -> Option<Self> {
        let mut from = 0;
        loop {
            let start = from + text.get(from..)?.find("${")?;
            let inside = text.get(start + 2..)?;
            let inside = inside.get(..inside.find('}')?)?;
            let Some((provider, rest)) = inside.split_once(':') else {
                from = start + 2;
                continue;
            };
            let (path, key) = rest.split_once(':').unwrap_or(("", rest));
            return Some(Self {
                start,
                length: inside.len() + 3,
                provider,
                path,
                key,
            });
        }
    }
}

impl Provider {
    fn value(&self, path: &str, key: &str) -> Result<Option<String>, String> {
        match self {
            Self::File { allowed } => {
                let Some(file) = read(path, allowed.as_deref())? else {
                    return Ok(None);
                };
                let properties = Properties::parse(&file)
                    .map_err(|error| format!("could not read properties from {path}: {error}"))?;
                Ok(properties.get(key).map(str::to_owned))
            }
            Self::Directory { allowed } => {
                if path.is_empty() || key.contains('/') || key == ".." {
                    return Ok(None);
                }
                let path = Path::new(path).join(key);
                if !path.is_file() {
                    return Ok(None);
                }
                let file = read(&path.to_string_lossy(), allowed.as_deref())?;
                Ok(file.map(|file| String::from_utf8_lossy(&file).into_owned()))
            }
            Self::Environment { allowed } => {
                let is_allowed = allowed
                    .as_ref()
                    .is_none_or(|p| p.is_match(key).unwrap_or(false));
                let is_plain = path.is_empty() && is_allowed && !key.contains(['=', '\0']);
                Ok(is_plain.then(|| std::env::var(key).ok()).flatten())
            }
        }
    }
}

fn read(path: &str, allowed: Option<&[PathBuf]>) -> Result<Option<Vec<u8>>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let fault = |error: std::io::Error| format!("could not read {path}: {error}");
    let real = std::fs::canonicalize(path).map_err(fault)?;
    // Links are followed first, or a link would be the way around the list.
    let is_allowed = allowed.is_none_or(|allowed| {
        let mut allowed = allowed
            .iter()
            .filter_map(|path| std::fs::canonicalize(path).ok());
        allowed.any(|path| real.starts_with(path))
    });
    if !is_allowed {
        return Err(format!(
            "{path} is not below any of the provider's allowed.paths"
        ));
    }
    std::fs::read(&real).map(Some).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers(directory: &Path, more: &[(&str, &str)]) -> Providers {
        let mut worker: Properties = [
            ("config.providers", "f, d,env"),
            ("config.providers.f.class", CLASSES[0]),
            ("config.providers.d.class", CLASSES[1]),
            ("config.providers.env.class", CLASSES[2]),
        ]
        .into_iter()
        .collect();
        worker.insert(
            "config.providers.f.param.allowed.paths",
            directory.to_string_lossy(),
        );
        for &(name, value) in more {
            worker.insert(name, value);
        }
        Providers::new(&worker).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    #[test]
    fn variables_are_filled_in() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_string_lossy();
        std::fs::write(
            directory.path().join("s.properties"),
            "db.pw=p\\u0061ss\na\\:b=c",
        )
        .unwrap();
        std::fs::write(directory.path().join("token"), "t0ken\n").unwrap();
        let providers = providers(directory.path(), &[]);
        let resolve = |text: &str| {
            providers
                .resolve(text)
                .unwrap_or_else(|fault| panic!("{fault}"))
        };

        assert_eq!(
            resolve(&format!("x${{f:{root}/s.properties:db.pw}}y")).value,
            "xpassy"
        );
        assert_eq!(
            resolve(&format!("${{f:{root}/s.properties:a:b}}")).value,
            "c"
        );
        assert_eq!(resolve(&format!("${{d:{root}:token}}")).value, "t0ken\n");
        let path = std::env::var("PATH").unwrap();
        let twice = resolve("${env:PATH}${x}${env:PATH}");
        assert_eq!(twice.value, format!("{path}${{x}}{path}"));
        assert!(twice.is_filled);

        for left in ["${nobody:a:b}", "${env:NO_SUCH_VARIABLE_}", "${f:key}"] {
            let resolved = resolve(left);
            assert_eq!(resolved.value, left);
            assert!(!resolved.is_filled);
            assert_eq!(resolved.left.len(), 1, "{left}");
        }
        for plain in ["$", "${", "${}", "${a}", "a$b{c:d}", "${a:b"] {
            let resolved = resolve(plain);
            assert_eq!(resolved.value, plain);
            assert!(resolved.left.is_empty());
        }
    }

    #[test]
    fn what_may_not_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let more = [("config.providers.env.param.allowlist.pattern", "PEN_.*")];
        let providers = providers(directory.path(), &more);
        assert!(providers.resolve("${f:/etc/passwd:root}").is_err());
        assert!(providers.resolve("${f:/no/such/file:key}").is_err());
        let left = providers
            .resolve("${env:PATH}")
            .map(|resolved| resolved.value);
        assert_eq!(left.as_deref(), Ok("${env:PATH}"));
    }

    #[test]
    fn unknown_classes() {
        let worker = [
            ("config.providers", "v"),
            ("config.providers.v.class", "com.acme.Vault"),
        ];
        let worker: Properties = worker.into_iter().collect();
        let faults = Providers::new(&worker).err().unwrap();
        assert_eq!(faults[0].0, "config.providers.v.class");
    }
}
