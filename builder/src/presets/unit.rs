//! A unit's `[Install]` section, and the links it asks for.

use super::{MAX_FILE_BYTES, PresetError};
use crate::tree::{Node, Tree};

/// Kinds of units that files define.
const KINDS: [&str; 9] = [
    ".service",
    ".socket",
    ".target",
    ".timer",
    ".path",
    ".mount",
    ".automount",
    ".swap",
    ".slice",
];
/// No name of a unit is longer (`UNIT_NAME_MAX`).
const MAX_NAME_BYTES: usize = 255;
/// As many aliases as are followed from one unit name to another.
const MAX_ALIASES: usize = 16;

/// Whether `name` is that of a unit file.
pub fn is_unit_name(name: &str) -> bool {
    KINDS.iter().any(|kind| name.len() > kind.len() && name.ends_with(kind))
}

/// `getty@.service` and `tty1` give `getty@tty1.service`.
pub fn instantiate(template: &str, instance: &str) -> String {
    match template.split_once("@.") {
        Some((prefix, kind)) => format!("{prefix}@{instance}.{kind}"),
        None => template.to_owned(),
    }
}

/// A unit that is there, and its `[Install]` section.
#[derive(Debug, Default)]
pub struct Install {
    /// Name it was found under, with the instance if there is one.
    pub name: String,
    /// Path of the unit file.
    path: String,
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    upheld_by: Vec<String>,
    aliases: Vec<String>,
    /// Units that are enabled along with it.
    pub also: Vec<String>,
    default_instance: Option<String>,
}

impl Install {
    /// Finds a unit in `folders`; none if it is not there or masked.
    pub fn read(tree: &Tree, folders: &[String], unit: &str) -> Result<Option<Self>, PresetError> {
        let mut name = unit.to_owned();
        for _ in 0..MAX_ALIASES {
            let Some(path) = find(tree, folders, &name) else {
                return Ok(None);
            };
            match tree.get(&path).map(|inode| &inode.node) {
                Some(Node::Symlink(target)) if target == "/dev/null" => return Ok(None),
                Some(Node::Symlink(target)) => {
                    let target = target.rsplit('/').next().unwrap_or_default();
                    if target == name || !is_unit_name(target) {
                        return Self::from_file(tree, folders, name, path).map(Some);
                    }
                    name = keep_instance(&name, target);
                }
                _ => return Self::from_file(tree, folders, name, path).map(Some),
            }
        }
        Ok(None)
    }

    fn from_file(
        tree: &Tree,
        folders: &[String],
        name: String,
        path: String,
    ) -> Result<Self, PresetError> {
        let mut install = Self::default();
        let mut files = vec![path.clone()];
        for folder in folders {
            let extra = format!("{folder}/{name}.d");
            let names = tree.children(&extra).filter(|(name, _)| name.ends_with(".conf"));
            files.extend(names.map(|(name, _)| format!("{extra}/{name}")));
        }
        for file in files.iter().filter(|file| tree.resolve(file).is_some()) {
            let bytes = tree.read(file, MAX_FILE_BYTES)?;
            install.parse(&String::from_utf8_lossy(&bytes));
        }
        (install.name, install.path) = (name, path);
        Ok(install)
    }

    fn parse(&mut self, text: &str) {
        let mut inside = false;
        for line in text.replace("\\\n", " ").lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside) else {
                continue;
            };
            let list = match key.trim_end() {
                "WantedBy" => &mut self.wanted_by,
                "RequiredBy" => &mut self.required_by,
                "UpheldBy" => &mut self.upheld_by,
                "Alias" => &mut self.aliases,
                "Also" => &mut self.also,
                "DefaultInstance" => {
                    self.default_instance = Some(value.trim().to_owned());
                    continue;
                }
                _ => continue,
            };
            if value.trim().is_empty() {
                list.clear();
            }
            list.extend(value.split_ascii_whitespace().map(str::to_owned));
        }
    }

    /// How many links and other units it asks for.
    pub fn wishes(&self) -> usize {
        let lists =
            [&self.wanted_by, &self.required_by, &self.upheld_by, &self.aliases, &self.also];
        lists.iter().map(|list| list.len()).sum()
    }

    /// Links as `(place, target)` that enable the unit below `config`.
    pub fn links(&self, config: &str) -> Result<Vec<(String, String)>, PresetError> {
        // A template is wanted as its default instance, or not at all.
        let name = match &self.default_instance {
            Some(instance) if self.name.contains("@.") => instantiate(&self.name, instance),
            _ => self.name.clone(),
        };
        let mut links = Vec::new();
        for alias in &self.aliases {
            links.push((format!("{config}/{}", self.expand(alias, &name)?), self.path.clone()));
        }
        let lists = [
            (&self.wanted_by, "wants"),
            (&self.required_by, "requires"),
            (&self.upheld_by, "upholds"),
        ];
        for (units, kind) in lists {
            for unit in units.iter().filter(|_| !name.contains("@.")) {
                let unit = self.expand(unit, &name)?;
                links.push((format!("{config}/{unit}.{kind}/{name}"), self.path.clone()));
            }
        }
        Ok(links)
    }

    /// Replaces the specifiers that a unit's name is made of.
    fn expand(&self, text: &str, name: &str) -> Result<String, PresetError> {
        let (stem, _) = name.rsplit_once('.').unwrap_or((name, ""));
        let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
        let wrong = || PresetError::Specifier { unit: self.name.clone(), text: text.to_owned() };
        // As a name it would be too long, whatever is filled in.
        if text.len() > MAX_NAME_BYTES {
            return Err(wrong());
        }
        let mut result = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                result.push(letter);
                continue;
            }
            match letters.next() {
                Some('%') => result.push('%'),
                Some('n') => result.push_str(name),
                Some('N') => result.push_str(stem),
                Some('p') => result.push_str(prefix),
                Some('i') => result.push_str(instance),
                Some('j') => result.push_str(prefix.rsplit('-').next().unwrap_or(prefix)),
                _ => return Err(wrong()),
            }
        }
        Ok(result)
    }
}

/// An instance's file is its own or its template's.
fn find(tree: &Tree, folders: &[String], unit: &str) -> Option<String> {
    let template = unit.split_once('@').and_then(|(prefix, rest)| {
        rest.rsplit_once('.').map(|(_, kind)| format!("{prefix}@.{kind}"))
    });
    let names = std::iter::once(unit.to_owned()).chain(template);
    names
        .flat_map(|name| folders.iter().map(move |folder| format!("{folder}/{name}")))
        .find(|path| tree.get(path).is_some())
}

/// The instance of `name` also goes for the template it is an alias of.
fn keep_instance(name: &str, target: &str) -> String {
    let instance = name.split_once('@').and_then(|(_, rest)| rest.rsplit_once('.'));
    match instance {
        Some((instance, _)) if target.contains("@.") => instantiate(target, instance),
        _ => target.to_owned(),
    }
}
