//! What the script of the pages does, in a real browser: the zone of the times.

use serde_json::json;

use super::browser::{Browser, filled};
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
