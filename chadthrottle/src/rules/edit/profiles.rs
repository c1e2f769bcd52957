//! The profiles of a file, and the rules that they name.

use toml_edit::{Array, DocumentMut, Item, value};

/// The profiles with what names their rules.
pub(super) fn profiles(document: &mut DocumentMut) -> impl Iterator<Item = (String, &mut Item)> {
    let profiles = document
        .get_mut("profile")
        .and_then(Item::as_table_like_mut);
    let profiles = profiles.into_iter().flat_map(|table| table.iter_mut());
    profiles.filter_map(|(name, profile)| {
        let named = profile.get_mut("rules")?;
        Some((name.get().to_owned(), named))
    })
}

/// Where a profile names that rule.
pub(super) fn place_in(named: &Item, rule: &str) -> Option<usize> {
    match named.as_array() {
        Some(several) => several.iter().position(|it| it.as_str() == Some(rule)),
        None => (named.as_str() == Some(rule)).then_some(0),
    }
}

/// Has a profile not name that rule.
pub(super) fn forget(named: &mut Item, rule: &str) {
    if named.as_str() == Some(rule) {
        *named = value(Array::new());
    } else if let (Some(place), Some(several)) = (place_in(named, rule), named.as_array_mut()) {
        several.remove(place);
        several.fmt();
    }
}

/// Has a profile name that rule, in that place where there are so many.
pub(super) fn name_again(named: &mut Item, rule: &str, place: usize) {
    if let Some(one) = named.as_str() {
        *named = value(Array::from_iter([one]));
    }
    if let Some(several) = named.as_array_mut() {
        several.insert(place.min(several.len()), rule);
        several.fmt();
    }
}
