//! What the script of the pages does, in a real browser: the zone of the times, and controls that stay under the hand.

use fantoccini::key::Key;
use serde_json::json;

use super::browser::{Browser, filled};
use super::dead_letters::with_letters;
use super::harness::Place;

/// Asserts that a page which has been reached does not load again.
async fn stays(browser: &Browser) {
    browser.says("window.is_same = true").await;
    for _ in 0..40 {
        assert_eq!(browser.says("return window.is_same ?? false").await, json!(true), "it loaded again");
        browser.says("return fetch('/ui/assets/none/none').then(answer => answer.status)").await;
    }
}

#[tokio::test]
async fn times_are_in_the_zone_of_the_browser_wherever_it_moves() {
    let place = Place::new().await;
    filled(&place).await;
    // A zone whose name is not the same in a cookie.
    let browser = Browser::new(1280, "Etc/GMT+8").await;
    browser.enter(&place).await;
    browser.until("document.querySelector('time')?.textContent === '2025-12-20 03:00:00'").await;
    stays(&browser).await;
    // A cookie of last year, when the browser was elsewhere.
    browser.says("sessionStorage.clear(); document.cookie = 'tz=Asia%2FShanghai; Path=/ui'").await;
    browser.open(&place, &place.path("runs?range=all")).await;
    browser.until("document.querySelector('time')?.textContent === '2025-12-20 03:00:00'").await;
    stays(&browser).await;
    // A zone that the server does not know: times of UTC, and a page that stands still.
    browser.says("sessionStorage.clear(); document.cookie = 'tz=Nowhere%2FElse; Path=/ui/t'").await;
    browser.open(&place, &place.path("runs?range=all")).await;
    browser.until("sessionStorage.length === 1 && document.readyState === 'complete'").await;
    browser.until("document.querySelector('time')?.textContent === '2025-12-20 11:00:00'").await;
    stays(&browser).await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_stopped_by_the_keyboard_while_its_numbers_change() {
    let (place, _) = with_letters(40).await;
    filled(&place).await;
    let browser = Browser::new(1280, "UTC").await;
    browser.enter(&place).await;
    browser.open(&place, "/ui/dead-letters").await;
    browser.there("button[value=replay]").await;
    browser.says("document.querySelector('[name=rate]').value = '1'").await;
    browser.there("button[value=replay]").await.click().await.unwrap();
    browser.there("form[action$='/stop'] button").await;
    browser.says("document.querySelector('form[action$=\"/stop\"] button').focus()").await;
    let shown = "Number(document.querySelector('[data-follow] strong').textContent)";
    let first = browser.says(&format!("return {shown}")).await;
    browser.until(&format!("{shown} > {first} + 1")).await;
    browser.until("document.activeElement.matches('form[action$=\"/stop\"] button')").await;
    browser.press(&char::from(Key::Enter).to_string()).await;
    // It says how it ended, and where to go on, without being asked again.
    browser.until("document.querySelector('[data-ended]') && !document.querySelector('[data-follow]')").await;
    browser.there(".state a.button[href='/ui/dead-letters']").await.click().await.unwrap();
    browser.there(".letters").await;
    browser.end().await;
}
