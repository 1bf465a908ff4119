use lagan::api::v1alpha1::{AccessMode, Anonymous};
use lagan::http::Authenticator;
use reqwest::{Method, StatusCode};

use crate::registry::{Registry, Setup, expect_error, header};

fn users(lines: &[(&str, &str)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    // The lowest cost: these passwords protect nothing.
    let text: Vec<_> = lines.iter().map(|(user, word)| format!("{user}:{}", bcrypt::hash(word, 4).unwrap())).collect();
    std::fs::write(file.path(), text.join("\n")).unwrap();
    file
}

async fn with_users(anonymous: Anonymous) -> (Registry, tempfile::NamedTempFile) {
    let file = users(&[("skipper", "secret"), ("mate", "päss:word")]);
    let setup = Setup { anonymous, htpasswd: Some(file.path().to_owned()), ..Setup::default() };
    (Registry::with(setup).await, file)
}

#[tokio::test]
async fn without_credentials_everything_is_a_challenge() {
    let (registry, _file) = with_users(Anonymous::None).await;
    for (method, path) in [
        (Method::GET, "/v2/"),
        (Method::GET, "/v2/_catalog"),
        (Method::GET, "/v2/app/tags/list"),
        (Method::GET, "/v2/app/manifests/v1"),
        (Method::PUT, "/v2/app/manifests/v1"),
        (Method::DELETE, "/v2/app/manifests/v1"),
        (Method::POST, "/v2/app/blobs/uploads/"),
        (Method::GET, "/v2/_lagan/trash"),
        (Method::POST, "/v2/_lagan/restore"),
        (Method::POST, "/v2/_lagan/retention/runs"),
    ] {
        let refused = registry.request(method, path).send().await.unwrap();
        assert!(header(&refused, "www-authenticate").starts_with("Basic realm=\""), "{path}");
        expect_error(refused, 401, "UNAUTHORIZED").await;
    }
}

#[tokio::test]
async fn the_right_password_opens_everything_and_its_owner_is_on_record() {
    let (mut registry, _file) = with_users(Anonymous::None).await;
    for (user, password) in [("skipper", "secret"), ("mate", "päss:word")] {
        registry.log_in(user, password);
        assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
        let manifest = registry.push_image("app", "v1", b"cargo").await;
        registry.delete(&format!("/v2/app/manifests/{}", manifest.digest)).await;
        let detail = registry.expect_no_manifest("app", "v1").await.unwrap();
        assert_eq!(detail["deletedBy"], user);
    }
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_refused() {
    let (mut registry, _file) = with_users(Anonymous::All).await;
    for (user, password) in [("skipper", "wrong"), ("skipper", ""), ("stowaway", "secret"), ("", "secret")] {
        registry.log_in(user, password);
        expect_error(registry.get("/v2/").await, 401, "UNAUTHORIZED").await;
    }
    let bearer = registry.client.get(format!("http://{}/v2/", registry.address)).bearer_auth("token");
    expect_error(bearer.send().await.unwrap(), 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn anonymous_pulls_may_pull_only() {
    let (mut registry, _file) = with_users(Anonymous::Pull).await;
    expect_error(registry.post("/v2/app/blobs/uploads/").await, 401, "UNAUTHORIZED").await;
    expect_error(registry.delete("/v2/app/manifests/v1").await, 401, "UNAUTHORIZED").await;
    expect_error(registry.get("/v2/_lagan/trash").await, 401, "UNAUTHORIZED").await;
    registry.log_in("skipper", "secret");
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    // What clients send that have no credentials.
    registry.log_in("", "");
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
    assert_eq!(registry.head(&format!("/v2/app/blobs/{}", manifest.layer)).await.status(), StatusCode::OK);
    expect_error(registry.delete("/v2/app/manifests/v1").await, 401, "UNAUTHORIZED").await;
}

/// The token that the challenge of an answer leads to.
async fn token(registry: &Registry, refused: &reqwest::Response) -> String {
    let challenge = header(refused, "www-authenticate");
    let realm = challenge.strip_prefix("Bearer realm=\"").and_then(|rest| rest.split_once('"')).unwrap().0;
    let answer = registry.get(&format!("{realm}?service=lagan&scope=repository:app:pull")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["token"], answer["access_token"]);
    answer["token"].as_str().unwrap().to_owned()
}

/// As Docker's clients do it: they ask `/v2/` how to log in, and then use what they were told for everything.
#[tokio::test]
async fn clients_that_ask_first_pull_without_a_name_and_push_with_one() {
    let (mut registry, _file) = with_users(Anonymous::Pull).await;
    let with = |registry: &Registry, method: Method, path: &str, token: &str| {
        let path = format!("http://{}{path}", registry.address);
        registry.client.request(method, path).bearer_auth(token).send()
    };
    registry.log_in("skipper", "secret");
    registry.push_image("app", "v1", b"cargo").await;
    registry.log_in("", "");
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK, "an empty pair is an answer, too");

    let base = registry.client.get(format!("http://{}/v2/", registry.address)).send().await.unwrap();
    assert_eq!(base.status(), StatusCode::UNAUTHORIZED);
    let nobodys = token(&registry, &base).await;
    assert_eq!(with(&registry, Method::GET, "/v2/", &nobodys).await.unwrap().status(), StatusCode::OK);
    let pulled = with(&registry, Method::GET, "/v2/app/manifests/v1", &nobodys).await.unwrap();
    assert_eq!(pulled.status(), StatusCode::OK);
    let refused = with(&registry, Method::POST, "/v2/app/blobs/uploads/", &nobodys).await.unwrap();
    assert!(header(&refused, "www-authenticate").ends_with(",scope=\"repository:app:pull,push\""));
    expect_error(refused, 401, "UNAUTHORIZED").await;

    registry.log_in("mate", "päss:word");
    let mates = token(&registry, &base).await;
    let begun = with(&registry, Method::POST, "/v2/app/blobs/uploads/", &mates).await.unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    for wrong in ["", "x", "lagan1.eDp5"] {
        let refused = with(&registry, Method::GET, "/v2/app/manifests/v1", wrong).await.unwrap();
        expect_error(refused, 401, "UNAUTHORIZED").await;
    }
}

#[tokio::test]
async fn a_token_is_given_for_a_form_too_and_for_no_wrong_password() {
    let (mut registry, _file) = with_users(Anonymous::Pull).await;
    let ask = |body: &'static str| registry.request(Method::POST, "/v2/_lagan/token").body(body).send();
    let given = ask("grant_type=password&service=lagan&username=skipper&password=secret").await.unwrap();
    assert_eq!(given.status(), StatusCode::OK);
    assert_eq!(header(&given, "cache-control"), "no-store");
    expect_error(ask("grant_type=password&username=skipper&password=x").await.unwrap(), 401, "UNAUTHORIZED").await;
    registry.log_in("skipper", "wrong");
    expect_error(registry.get("/v2/_lagan/token").await, 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn a_changed_password_file_is_read_again() {
    let (mut registry, file) = with_users(Anonymous::None).await;
    registry.log_in("skipper", "secret");
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
    std::fs::write(file.path(), format!("skipper:{}\n", bcrypt::hash("changed", 4).unwrap())).unwrap();
    while registry.get("/v2/").await.status() != StatusCode::UNAUTHORIZED {}
    registry.log_in("skipper", "changed");
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
    std::fs::write(file.path(), "skipper:no-hash\n").unwrap();
    registry.log_in("skipper", "changed");
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
}

#[test]
fn a_password_file_with_another_hash_than_bcrypts_is_refused_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# users\nskipper:$apr1$salt$hash\n").unwrap();
    let error = Authenticator::new(Anonymous::None, Some(file.path())).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("line 2: "), "{cause}");
    assert!(!cause.contains("$hash"));
}

#[tokio::test]
async fn a_read_only_registry_is_read_only() {
    let registry = Registry::start().await;
    let manifest = registry.push_image("app", "v1", b"cargo").await;
    registry.shutdown.cancel();
    registry.server.await.unwrap();
    drop((registry.app, registry.catalog));
    let setup = Setup { access_mode: AccessMode::ReadOnly, ..Setup::default() };
    let registry = Registry::on(registry.folder, setup).await;
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status(), StatusCode::OK);
    assert_eq!(registry.head(&format!("/v2/app/blobs/{}", manifest.layer)).await.status(), StatusCode::OK);
    assert_eq!(registry.get("/v2/_lagan/trash").await.status(), StatusCode::OK, "looking changes nothing");
    for (method, path, allowed) in [
        (Method::POST, "/v2/app/blobs/uploads/", Some("")),
        (Method::PUT, "/v2/app/manifests/v2", Some("GET, HEAD")),
        (Method::DELETE, "/v2/app/manifests/v1", Some("GET, HEAD")),
        (Method::POST, "/v2/_lagan/restore", Some("")),
    ] {
        let refused = registry.request(method, path).send().await.unwrap();
        let allow = refused.headers().get("allow").map(|value| value.to_str().unwrap());
        assert_eq!(allow, allowed, "{path}");
        expect_error(refused, 405, "UNSUPPORTED").await;
    }
}
