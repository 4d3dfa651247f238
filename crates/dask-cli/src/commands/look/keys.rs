//! Keys as people type them.

use std::sync::Arc;

use dask_client::{Client, Feature, Key};

/// The key that a text means: a tuple as Python shows it, on releases that have such keys, else the text itself.
pub(in crate::commands) fn parse(client: &Client, text: &str) -> Key {
    if client.dialect().has(Feature::TupleKeys)
        && text.starts_with('(')
        && let Some((key, "")) = tuple(text, 8)
    {
        return key;
    }
    Key::from(text)
}

/// A tuple at the start of a text, and what follows it.
fn tuple(text: &str, depth: u8) -> Option<(Key, &str)> {
    let depth = depth.checked_sub(1)?;
    let mut rest = text.strip_prefix('(')?.trim_start();
    let mut parts = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(')') {
            return Some((Key::Tuple(parts.into()), after.trim_start()));
        }
        let (part, after) = part(rest, depth)?;
        parts.push(part);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with(')') => (),
            None => return None,
        }
    }
}

fn part(text: &str, depth: u8) -> Option<(Key, &str)> {
    if text.starts_with('(') {
        return tuple(text, depth);
    }
    for quote in ['\'', '"'] {
        if let Some(inside) = text.strip_prefix(quote) {
            let (word, after) = inside.split_once(quote)?;
            return Some((Key::Str(Arc::from(word)), after));
        }
    }
    let end = text.find([',', ')'])?;
    let (word, after) = text.split_at(end);
    let key = match word.trim() {
        "None" => Key::None,
        "True" => Key::Bool(true),
        "False" => Key::Bool(false),
        word => match word.parse::<i64>() {
            Ok(number) => Key::Int(number),
            Err(_) => Key::Float(word.parse::<f64>().ok()?.to_bits()),
        },
    };
    Some((key, after))
}

/// The name by which Dask groups a key: what stands before its hash.
pub(in crate::commands) fn prefix(key: &Key) -> String {
    let text = match key {
        Key::Tuple(parts) => match parts.first() {
            Some(first) => return prefix(first),
            None => return "other".to_owned(),
        },
        key => key.to_string(),
    };
    // Keys of older releases show a tuple as text.
    let text = text.trim_start_matches(['(', '\'', '"']);
    let text = text.split(['\'', '"', ',']).next().unwrap_or(text);
    let mut words = text.split('-');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let is_hash = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if word.is_empty() || is_hash || !word.chars().all(char::is_alphabetic) {
            break;
        }
        name.push('-');
        name.push_str(word);
    }
    if name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return "data".to_owned();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_read_as_python_shows_them() {
        for text in ["('x-f00', 3)", "('x', (1, 'y'), 2.5, None)", "('x',)", "()"] {
            let (key, rest) = tuple(text, 8).unwrap();
            assert_eq!((key.to_string().as_str(), rest), (text, ""));
        }
        for text in ["('x', 3", "(x y)", "('x' 3)", "(,)"] {
            assert_eq!(tuple(text, 8), None, "{text}");
        }
        assert_eq!(tuple(&"(".repeat(100), 8), None);
    }

    #[test]
    fn names_stand_before_hashes() {
        for (key, name) in [
            ("add-0a1b2c3d4e5f", "add"),
            ("read-csv-1234", "read-csv"),
            ("('x-f00ba4aa', 3)", "x"),
            ("plain", "plain"),
            ("ae05086432ca935f6eba409a8ecd4896", "data"),
        ] {
            assert_eq!(prefix(&Key::from(key)), name);
        }
        assert_eq!(prefix(&Key::Tuple(vec![Key::from("sum-1"), Key::Int(0)].into())), "sum");
    }
}
