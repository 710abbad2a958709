//! The frame of every page: head, navigation, the choice of language and colours.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::format::{clipped, line, short};
use super::i18n::Lang;
use super::state::AddressState;
use super::viewer::{Look, Theme};
use crate::domain::{TenantId, printable};

/// The screens of a workspace, in the order of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Screen {
    Runs,
    Nodes,
    Errors,
    Statistics,
    AppLogs,
}

impl Screen {
    const ALL: [Self; 5] = [Self::Runs, Self::Nodes, Self::Errors, Self::Statistics, Self::AppLogs];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Nodes => "nodes",
            Self::Errors => "errors",
            Self::Statistics => "statistics",
            Self::AppLogs => "app-logs",
        }
    }

    const fn name(self, look: Look) -> &'static str {
        let texts = look.texts();
        match self {
            Self::Runs => texts.runs,
            Self::Nodes => texts.nodes,
            Self::Errors => texts.errors,
            Self::Statistics => texts.statistics,
            Self::AppLogs => texts.app_logs,
        }
    }
}

/// Returns the address of a workspace's screen.
pub(super) fn path(tenant_id: TenantId, screen: Screen) -> String {
    format!("/ui/t/{tenant_id}/{}", screen.path())
}

/// Where a page stands.
#[derive(Clone)]
pub(super) struct PageFrame {
    pub look: Look,
    pub title: String,
    /// The address of the page, for what comes back to it.
    pub here: String,
    pub signed_in: bool,
    /// Whom a proxy has signed in, who cannot sign out here.
    pub person: Option<Box<str>>,
    pub is_admin: bool,
    /// Dead letters are for this viewer.
    pub operates: bool,
    pub tenant_id: Option<TenantId>,
    /// The name of the workspace, where it is known.
    pub workspace: Option<Box<str>>,
    pub screen: Option<Screen>,
    /// Time range and app, which go along to the other screens.
    pub carried: AddressState,
}

impl PageFrame {
    /// Returns a page outside of any workspace.
    pub(super) fn plain(look: Look, title: &str, here: &str) -> Self {
        Self {
            look,
            title: title.to_owned(),
            here: here.to_owned(),
            signed_in: false,
            person: None,
            is_admin: false,
            operates: false,
            tenant_id: None,
            workspace: None,
            screen: None,
            carried: AddressState::default(),
        }
    }
}

/// Returns a whole page.
pub(super) fn page(status: StatusCode, frame: &PageFrame, content: &Markup) -> Response {
    let PageFrame { look, title, .. } = frame;
    let texts = look.texts();
    let markup = html! {
        (DOCTYPE)
        html lang=(look.lang.tag()) data-theme=(look.theme.code()) data-zone=(look.zone.name()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (printable(&clipped(title, 120))) " · difylog" }
                link rel="icon" href=(ICON.href()) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE.href());
                script type="module" src=(SCRIPT.href()) {}
            }
            body data-busy=(texts.busy) data-copied=(texts.copied) data-loading=(texts.loading) data-failed=(texts.not_loaded) {
                a.skip href="#content" { (texts.skip) }
                (head(frame))
                main #content tabindex="-1" { (content) }
                (foot(frame))
            }
        }
    };
    (status, Html(markup.into_string())).into_response()
}

fn head(frame: &PageFrame) -> Markup {
    let look = frame.look;
    let texts = look.texts();
    html! {
        header.top {
            a.brand href="/ui/" aria-label={ "difylog: " (texts.product) } {
                img src=(ICON.href()) alt="" width="24" height="24";
                span { "difylog" }
            }
            @if let Some(tenant_id) = frame.tenant_id {
                nav aria-label=(texts.nav) {
                    @for screen in Screen::ALL {
                        a href=(frame.carried.href(&path(tenant_id, screen)))
                            aria-current=[(frame.screen == Some(screen)).then_some("page")] { (screen.name(look)) }
                    }
                }
                a.workspace href="/ui/workspaces" title={ (texts.workspace) " " (tenant_id) } {
                    span.label { (texts.workspace) } " "
                    @match &frame.workspace { Some(name) => (line(name, 30)), None => code { (short(&tenant_id.to_string())) } }
                }
            } @else { span.space {} }
            @if frame.operates { a.workspace href="/ui/dead-letters" { (texts.dead_letters) } }
            @if frame.is_admin { a.workspace href="/ui/system" { (texts.system) } }
            @if let Some(person) = &frame.person {
                span.who { (texts.signed_in_as) " " (line(person, 40)) }
            } @else if frame.signed_in {
                form method="post" action="/ui/sign-out" { button.quiet type="submit" { (texts.sign_out) } }
            }
        }
    }
}

/// Language, colours, zone: forms, so that they work without a script.
fn foot(frame: &PageFrame) -> Markup {
    let look = &frame.look;
    let texts = look.texts();
    let theme_name = |theme| match theme {
        Theme::Auto => texts.theme_auto,
        Theme::Light => texts.theme_light,
        Theme::Dark => texts.theme_dark,
    };
    html! {
        footer aria-label=(texts.settings) {
            form method="post" action="/ui/look" {
                input type="hidden" name="next" value=(frame.here);
                fieldset {
                    legend { (texts.language) }
                    @for lang in Lang::ALL {
                        button type="submit" name="lang" value=(lang.code()) lang=(lang.tag())
                            aria-pressed=(look.lang == lang) { (lang.name()) }
                    }
                }
                fieldset {
                    legend { (texts.theme) }
                    @for theme in Theme::ALL {
                        button type="submit" name="theme" value=(theme.code()) aria-pressed=(look.theme == theme) {
                            (theme_name(theme))
                        }
                    }
                }
            }
            p { (texts.zone) " " (look.zone.name()) " · difylog " (env!("CARGO_PKG_VERSION")) " · " a href="/docs" { (texts.api_docs) } }
        }
    }
}
