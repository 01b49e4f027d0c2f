//! Every setting, once, as data: the commented reference file, the variables of the environment and the
//! check for misspelt names all follow from it.

mod list;

pub(super) use list::SECTIONS;

/// A table of the settings file.
pub(super) struct Section {
    /// Its name; a dot where it stands inside another.
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// What stands above it in the reference; empty for nothing.
    pub(super) about: &'static str,
    pub(super) settings: &'static [Setting],
}

/// How often a section stands, and what its keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Once.
    Table,
    /// As often as wished, `[[...]]`; or inside one that is.
    Repeated,
    /// Once, with keys of the operator's own.
    Names,
    /// As often as wished; its keys are somebody else's to check.
    Foreign,
}

/// One setting.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) shown: Shown,
    /// What it means.
    pub(super) meaning: &'static str,
}

/// What is written for a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text; sizes, durations, addresses and choices too.
    Text,
    Number,
    Switch,
    List,
    Map,
}

/// What the reference file shows for a setting, as TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// What is in force where nothing is written.
    Default(&'static str),
    /// Something else than what is in force where nothing is written.
    Example(&'static str),
    /// An example that would contradict the others; shown as a comment.
    Comment(&'static str),
}

const HEAD: &str = "\
Every setting of Penstock, with its default and what it means. Copy what you change into your own
`penstock.toml`; unknown keys are refused with their place. `penstock docs config` prints this file.

Sizes are bytes or texts such as \"64MiB\"; durations are seconds or texts such as \"90s\" and \"500ms\".
A secret is the secret itself, \"env:NAME\" or \"file:PATH\".

A flag wins over the environment, the environment over this file, this file over the defaults. Settings of
sections that stand once have a variable: PENSTOCK_SERVER__MAX_BODY is max_body of [server], and
PENSTOCK_DEFAULTS__TIMEOUTS__IDLE is idle of [defaults.timeouts]. PENSTOCK_CONFIG names this file. A .env
file where Penstock runs adds to the environment. Without channels in this file, the variables of providers
make them: OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY ...; API_KEYS=sk-...,sk-... makes keys.

The file is read again when it changes and on SIGHUP: channels, aliases, keys, [defaults] and [discover]
change live and cut no stream; [server], [tls] and [log] need a restart. An invalid file changes nothing, and the
log says why.";

/// The commented reference file.
pub fn render() -> String {
    let mut text = String::new();
    comment(&mut text, HEAD);
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.about);
        match (section.form, section.name.contains('.')) {
            (Form::Repeated | Form::Foreign, false) => text.push_str(&format!("[[{}]]\n", section.name)),
            _ => text.push_str(&format!("[{}]\n", section.name)),
        }
        for setting in section.settings {
            comment(&mut text, setting.meaning);
            let key = setting.key;
            match setting.shown {
                Shown::Default(value) | Shown::Example(value) => {
                    text.push_str(&format!("{key} = {value}\n"));
                }
                Shown::Comment(value) => text.push_str(&format!("# {key} = {value}\n")),
            }
        }
    }
    text
}

fn comment(text: &mut String, words: &str) {
    for line in words.lines() {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
}

/// Settings that a variable can set, by their full names.
pub(super) fn scalars() -> impl Iterator<Item = (String, Kind)> {
    let once = SECTIONS.iter().filter(|section| section.form == Form::Table);
    once.flat_map(|section| {
        let named = |s: &Setting| (format!("{}.{}", section.name, s.key), s.kind);
        section.settings.iter().filter(|s| s.kind != Kind::Map).map(named)
    })
}

/// The keys that may stand in a section, its own sections too; `None` where the operator makes them up.
/// The name of the whole file is empty.
pub(super) fn keys_of(section: &str) -> Option<Vec<&'static str>> {
    let of_others = |s: &&Section| matches!(s.form, Form::Names | Form::Foreign);
    let is_free = |rest: &str| rest.is_empty() || rest.starts_with(".\"");
    if SECTIONS.iter().filter(of_others).any(|s| s.name.strip_prefix(section).is_some_and(is_free)) {
        return None;
    }
    let below = SECTIONS.iter().filter_map(|s| match section {
        "" => s.name.split('.').next(),
        above => s.name.strip_prefix(above)?.strip_prefix('.')?.split('.').next(),
    });
    let below: Vec<_> = below.collect();
    let own = SECTIONS.iter().find(|s| s.name == section);
    match own {
        None if below.is_empty() => None,
        _ => {
            let own = own.map(|s| s.settings).unwrap_or_default().iter().map(|s| s.key);
            let mut keys: Vec<_> = own.chain(below).collect();
            keys.dedup();
            Some(keys)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_section() {
        assert!(keys_of("").expect("sections").contains(&"channel"));
        assert!(keys_of("channel").expect("keys").contains(&"timeouts"));
        assert!(keys_of("channel.timeouts").expect("keys").contains(&"idle"));
        assert!(keys_of("defaults").expect("sections").contains(&"timeouts"));
        let queue = keys_of("queue").expect("keys");
        assert!(["max_wait", "model", "group", "key"].iter().all(|key| queue.contains(key)), "{queue:?}");
        assert_eq!((keys_of("queue.model"), keys_of("model")), (None, None));
        assert_eq!(keys_of("aliases"), None);
        assert_eq!(keys_of("channel.mapping"), None);
    }

    #[test]
    fn the_file_in_the_repository_is_what_the_code_says() {
        let file = include_str!("../../config/penstock.toml");
        assert!(file == render(), "config/penstock.toml is old: penstock docs config > config/penstock.toml");
    }
}
