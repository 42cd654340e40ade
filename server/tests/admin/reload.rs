//! The admin port's tokens and certificate, read again while it is served.

use rustix::process::Signal;

use super::http::{Site, TOKEN};
use super::tunnel::{JSON, observe};

const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn status_with(site: &Site, token: &str) -> u16 {
    site.ask("GET", "/health", &[("authorization", &format!("Bearer {token}"))], "").status
}

#[test]
fn a_token_that_is_taken_out_of_its_file_counts_no_more_and_closes_who_came_in_by_it() {
    let mut site = Site::with_token(&[]);
    let file = site.folder.path().join("tokens");
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let (name, old) = bearer(TOKEN);
    let mut by_old = observe(&site, "/ws", &[JSON, (name, &old)]).unwrap();
    assert_eq!((status_with(&site, TOKEN), status_with(&site, OTHER)), (200, 401));
    // Both, while they are changed.
    std::fs::write(&file, format!("{TOKEN}\n{OTHER}\n")).unwrap();
    site.server.signal(Signal::HUP);
    site.server.stderr_line("admin: 2 tokens read anew");
    assert_eq!((status_with(&site, TOKEN), status_with(&site, OTHER)), (200, 200));
    let (name, new) = bearer(OTHER);
    let mut by_new = observe(&site, "/ws", &[JSON, (name, &new)]).unwrap();
    assert!(by_old.read().is_ok(), "it stays");
    // What is no token changes nothing.
    std::fs::write(&file, "short\n").unwrap();
    site.server.signal(Signal::HUP);
    let said = site.server.stderr_line("nothing is reloaded");
    assert!(said.contains("admin.token_file") && !said.contains("short"), "{said}");
    assert_eq!((status_with(&site, TOKEN), status_with(&site, OTHER)), (200, 200));
    std::fs::write(&file, format!("{OTHER}\n")).unwrap();
    site.server.signal(Signal::HUP);
    site.server.stderr_line("admin: 1 token read anew");
    assert_eq!((status_with(&site, TOKEN), status_with(&site, OTHER)), (401, 200));
    while by_old.read().is_ok() {}
    by_new.send(tungstenite::Message::text(r#"{"type":"ping","id":1}"#)).unwrap();
    while !by_new.read().expect("it stays").to_text().unwrap().contains("pong") {}
}
