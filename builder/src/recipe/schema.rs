//! The JSON Schema of a recipe, for editors. What counts is what slipway itself
//! reads; tests hold the two together.

/// The schema: JSON Schema, draft 7, which most editors know.
pub const SCHEMA: &str = include_str!("../../../docs/reference/recipe.schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::archive::Archive;
    use crate::disk::format::DiskFormat;
    use crate::fixture::Fixture;
    use crate::package::Phase;
    use crate::recipe::{Arch, Recipe};
    use crate::rootfs::FileSystem;

    /// Nothing that a recipe knows is near it.
    const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
    /// How a table is called in messages, and its place in the schema.
    const TABLES: [(&str, &str); 11] = [
        ("the recipe", ""),
        ("`[[repository]]`", "/definitions/repository"),
        ("a key", "/definitions/key"),
        ("`[packages]`", "/definitions/packages"),
        ("`[root]`", "/definitions/root"),
        ("a `file`", "/definitions/file"),
        ("`[boot]`", "/definitions/boot"),
        ("`stub`", "/definitions/stub"),
        ("`[health]`", "/definitions/health"),
        ("`[etc]`", "/definitions/etc"),
        ("`[disk]`", "/definitions/disk"),
    ];

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).expect("JSON")
    }

    /// What is wrong with a recipe of these tables.
    fn mistakes(more: &str) -> Vec<(String, String)> {
        let fixture = Fixture::new();
        fixture.write_file(
            "recipes/test.toml",
            format!("schema = 1\nname = \"test\"\nversion = \"1\"\n{more}"),
        );
        let Err(problems) = Recipe::load(&fixture.recipe_path()) else { return Vec::new() };
        let one = |problem: &crate::diagnose::Problem| {
            (problem.message().to_owned(), problem.advice().unwrap_or_default().to_owned())
        };
        problems.iter().map(one).collect()
    }

    #[test]
    fn it_has_the_keys_that_are_read() {
        let text = format!(
            "{UNKNOWN} = 1\n\
             [[repository]]\nid = \"r\"\nurl = \"x\"\n{UNKNOWN} = 1\n\
             keys = [{{ path = \"../keys/trusted\", {UNKNOWN} = 1 }}]\n\
             [packages]\ninstall = [\"a\"]\n{UNKNOWN} = 1\n\
             [root]\n{UNKNOWN} = 1\nfile = [{{ path = \"/a\", content = \"\", {UNKNOWN} = 1 }}]\n\
             [boot]\n{UNKNOWN} = 1\nkernel = \"/k\"\n\
             stub = {{ package = \"s\", path = \"/s\", {UNKNOWN} = 1 }}\n\
             [health]\n{UNKNOWN} = 1\n[etc]\n{UNKNOWN} = 1\n[disk]\n{UNKNOWN} = 1\n"
        );
        let (schema, found) = (schema(), mistakes(&text));
        assert_eq!(found.len(), TABLES.len(), "a table of its own is missing here: {found:?}");
        for (called, at) in TABLES {
            let message = format!("unknown key `{UNKNOWN}` in {called}");
            let hint = found.iter().find(|(other, _)| *other == message);
            let (_, hint) = hint.unwrap_or_else(|| panic!("{message}: {found:?}"));
            let known = hint.strip_prefix("known here: ").expect("nothing is near");
            let known: BTreeSet<&str> = known.split(", ").collect();
            let table = schema.pointer(at).expect("a definition");
            let listed = table["properties"].as_object().expect("properties");
            assert_eq!(listed.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "{at}");
            assert_eq!(table["additionalProperties"], false, "{at}");
        }
    }

    #[test]
    fn it_has_the_ranges_that_are_read() {
        let out_of_range = |table: &str, key: &str, number: i64| {
            let head = match table {
                "repository" => "[[repository]]\n".to_owned(),
                "" => String::new(),
                table => format!("[{table}]\n"),
            };
            let found = mistakes(&format!("{head}{key} = {number}\n"));
            found.iter().any(|(message, _)| *message == format!("`{key}` is out of range"))
        };
        let (schema, mut numbers) = (schema(), 0);
        for (called, at) in TABLES {
            let table = called.trim_matches(['`', '[', ']']);
            let table = if at.is_empty() { "" } else { table };
            let properties = schema.pointer(at).expect("there")["properties"].clone();
            for (key, property) in properties.as_object().expect("a table") {
                let Some(least) = property["minimum"].as_i64() else { continue };
                let most = property["maximum"].as_i64().expect("both or none");
                for (number, wrong) in [(least - 1, true), (least, false), (most, false)] {
                    assert_eq!(out_of_range(table, key, number), wrong, "{table} {key} {number}");
                }
                assert!(out_of_range(table, key, most + 1), "{table} {key}");
                numbers += 1;
            }
        }
        assert_eq!(numbers, 10);
    }

    #[test]
    fn it_has_the_words_that_are_read() {
        let schema = schema();
        let words = |at: &str| -> BTreeSet<String> {
            let listed = schema.pointer(at).and_then(Value::as_array).expect("a list");
            listed.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let set = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let at = "/definitions/root/properties";
        let kinds: BTreeSet<String> = set(&FileSystem::ALL.map(FileSystem::as_str));
        assert_eq!(words(&format!("{at}/filesystem/enum")), kinds);
        let kinds: BTreeSet<String> = set(&Archive::ALL.map(Archive::as_str));
        assert_eq!(words(&format!("{at}/archives/items/enum")), kinds);
        let kinds: BTreeSet<String> = set(&DiskFormat::ALL.map(DiskFormat::as_str));
        assert_eq!(words("/definitions/disk/properties/formats/items/enum"), kinds);
        let kinds: BTreeSet<String> = set(&[Arch::X86_64, Arch::Aarch64].map(Arch::as_str));
        assert_eq!(words("/properties/arch/enum"), kinds);
        let phases = schema.pointer("/definitions/packages/properties/skip_scripts/items/pattern");
        let phases = phases.and_then(Value::as_str).expect("a pattern");
        for phase in Phase::ALL {
            assert!(phases.contains(phase.name()), "{phase}");
        }
    }
}
