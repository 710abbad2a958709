//! How apps are shown: by icon and name where they are known, else by id.

use maud::{Markup, html};

use super::format::{line, short};
use crate::query::AppNames;

/// Longest icon that is shown: Dify keeps a character, or its English name, which nobody reads as a picture.
const ICON: usize = 8;

/// Returns an app by the text of its id; its id is in the tooltip.
pub(super) fn app(names: &AppNames, id: &str) -> Markup {
    let known = id.parse().ok().and_then(|id| names.get(&id));
    let icon = known.and_then(|app| app.icon.as_deref()).filter(|icon| icon.len() <= ICON && !icon.is_ascii());
    html! {
        @match known {
            Some(app) => span title={ (id) " · " (app.mode) } { @if let Some(icon) = icon { span aria-hidden="true" { (icon) } " " } (line(&app.name, 40)) },
            None => code title=(id) { (short(id)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_app_is_its_id() {
        let shown = app(&AppNames::default(), "669dd85a-0949-4cda-99c9-4984b192aea0").into_string();
        assert_eq!(shown, "<code title=\"669dd85a-0949-4cda-99c9-4984b192aea0\">669dd85a</code>");
    }
}
