use reqwest::{Method, StatusCode};

use crate::registry::{Registry, expect_error, header};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[tokio::test]
async fn malformed_input_gets_the_code_that_names_it() {
    let registry = Registry::start().await;
    let long = "a".repeat(256);
    let long_tag = "a".repeat(129);
    let cases = [
        (Method::GET, "/v2/UPPER/tags/list".to_owned(), 400, "NAME_INVALID"),
        (Method::GET, "/v2//tags/list".to_owned(), 400, "NAME_INVALID"),
        (Method::GET, "/v2/a%20b/tags/list".to_owned(), 400, "NAME_INVALID"),
        (Method::GET, format!("/v2/{long}/tags/list"), 400, "NAME_INVALID"),
        (Method::POST, "/v2/_x/blobs/uploads/".to_owned(), 400, "NAME_INVALID"),
        (Method::GET, "/v2/app/blobs/sha256:short".to_owned(), 400, "DIGEST_INVALID"),
        (Method::GET, format!("/v2/app/blobs/{}", DIGEST.to_uppercase()), 400, "DIGEST_INVALID"),
        (Method::GET, "/v2/app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(), 400, "DIGEST_INVALID"),
        (Method::GET, "/v2/app/manifests/sha256:baddigeststring".to_owned(), 400, "DIGEST_INVALID"),
        (Method::PUT, "/v2/app/manifests/sha256:baddigeststring".to_owned(), 400, "DIGEST_INVALID"),
        (Method::POST, "/v2/app/blobs/uploads/?digest=x".to_owned(), 400, "DIGEST_INVALID"),
        (Method::POST, "/v2/app/blobs/uploads/?mount=x&from=app".to_owned(), 400, "DIGEST_INVALID"),
        (Method::POST, format!("/v2/app/blobs/uploads/?mount={DIGEST}&from=UP"), 400, "NAME_INVALID"),
        (Method::POST, "/v2/app/blobs/uploads/?digest-algorithm=md5".to_owned(), 400, "UNSUPPORTED"),
        (Method::GET, format!("/v2/app/manifests/{long_tag}"), 404, "MANIFEST_UNKNOWN"),
        (Method::GET, "/v2/app/manifests/.hidden".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (Method::PUT, "/v2/app/manifests/.hidden".to_owned(), 400, "MANIFEST_INVALID"),
        (Method::GET, "/v2/app/tags/list?n=-1".to_owned(), 400, "UNSUPPORTED"),
        (Method::GET, "/v2/_catalog?n=x".to_owned(), 400, "UNSUPPORTED"),
        (Method::GET, "/v2/app/blobs/uploads/..%2f..".to_owned(), 404, "UNSUPPORTED"),
        (Method::GET, "/v2/app/tags/list?n=1e3".to_owned(), 400, "UNSUPPORTED"),
        (Method::GET, "/v2/app/tags/list?n=0x10".to_owned(), 400, "UNSUPPORTED"),
        (Method::GET, "/v2/nowhere/tags/list?n=0".to_owned(), 404, "NAME_UNKNOWN"),
        (Method::GET, "/v2/nowhere/tags/list?n=99999999999999999999999&last=zzz".to_owned(), 404, "NAME_UNKNOWN"),
        (Method::GET, "/v2/..%00/tags/list".to_owned(), 400, "NAME_INVALID"),
        (Method::GET, "/v2/%c3%28/tags/list".to_owned(), 404, "UNSUPPORTED"),
        (Method::GET, format!("/v2/app/blobs/{DIGEST}0"), 400, "DIGEST_INVALID"),
        (Method::GET, "/v2/app/blobs/sha512:00".to_owned(), 400, "DIGEST_INVALID"),
        (Method::GET, "/v2/app/referrers/latest".to_owned(), 400, "DIGEST_INVALID"),
        (Method::DELETE, "/v2/app/manifests/sha256:0".to_owned(), 400, "DIGEST_INVALID"),
        (
            Method::PATCH,
            "/v2/app/blobs/uploads/00000000-0000-0000-0000-000000000000".to_owned(),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        (Method::PUT, format!("/v2/app/blobs/uploads/x?digest={DIGEST}"), 404, "BLOB_UPLOAD_UNKNOWN"),
        (Method::GET, "/v2/_lagan/trash?repository=UP".to_owned(), 400, "UNSUPPORTED"),
        (Method::GET, "/v2/_lagan/trash?last=x".to_owned(), 400, "UNSUPPORTED"),
        (Method::POST, "/v2/_lagan/trash".to_owned(), 405, "UNSUPPORTED"),
        (Method::GET, "/v2/_unknown/tags/list".to_owned(), 400, "NAME_INVALID"),
        (Method::GET, "/v2/app/blobs/uploads/nonsense".to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
        (Method::GET, "/v2/_lagan/trash/nonsense".to_owned(), 404, "NOT_FOUND"),
        (Method::GET, "/v2/app/nothing".to_owned(), 404, "UNSUPPORTED"),
        (Method::GET, "/v1/search".to_owned(), 404, "UNSUPPORTED"),
        (Method::GET, "/".to_owned(), 404, "UNSUPPORTED"),
    ];
    for (method, path, status, code) in cases {
        let request = registry.request(method.clone(), &path).send().await.unwrap();
        assert_eq!(request.status().as_u16(), status, "{method} {path}");
        expect_error(request, status, code).await;
    }
}

/// Headers that no client should send: the ones that may be ignored are, the others are named.
#[tokio::test]
async fn malformed_headers_are_ignored_or_refused() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("app", b"cargo").await;
    let blob = format!("/v2/app/blobs/{digest}");
    for (name, value) in [
        ("range", &b"bytes=\xff-1"[..]),
        ("range", b"bytes=1-2-3"),
        ("range", b"bytes=18446744073709551616-18446744073709551617x"),
        ("if-none-match", b"\"unterminated"),
        ("if-none-match", b"\xff"),
        ("if-range", b"W/"),
        ("accept", b";;;"),
    ] {
        let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
        let answer = registry.request(Method::GET, &blob).header(name, value.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{name}: {value:?}");
    }
    let beyond = registry.request(Method::GET, &blob).header("range", "bytes=99999999999999999999-");
    expect_error(beyond.send().await.unwrap(), 416, "UNSUPPORTED").await;
    let location = registry.begin_upload("app").await;
    for value in [
        &b"\xff-1"[..],
        b"0-18446744073709551615",
        b"5-1",
        b"0-",
        b"bytes",
        b"99999999999999999999-99999999999999999999",
    ] {
        let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
        let sent = registry.request(Method::PATCH, &location).header("content-range", value.clone()).body("x");
        let answer = sent.send().await.unwrap();
        assert!([400, 416].contains(&answer.status().as_u16()), "{value:?}: {}", answer.status());
    }
    let basic = reqwest::header::HeaderValue::from_bytes(b"Basic \xff").unwrap();
    let refused = registry.request(Method::GET, "/v2/").header("authorization", basic).send().await.unwrap();
    expect_error(refused, 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn a_method_that_a_route_lacks_is_refused_with_those_it_has() {
    let registry = Registry::start().await;
    for (method, path, allow) in [
        (Method::POST, "/v2/app/tags/list", "GET, HEAD"),
        (Method::POST, "/v2/app/manifests/v1", "GET, HEAD, PUT, DELETE"),
        (Method::GET, "/v2/app/blobs/uploads/", "POST"),
        (Method::OPTIONS, "/v2/", "GET, HEAD"),
        (Method::from_bytes(b"INVENTED").unwrap(), "/v2/_catalog", "GET, HEAD"),
    ] {
        let refused = registry.request(method, path).send().await.unwrap();
        assert_eq!(header(&refused, "allow"), allow);
        expect_error(refused, 405, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn a_head_of_what_is_not_there_has_no_body() {
    let registry = Registry::start().await;
    for path in [format!("/v2/app/blobs/{DIGEST}"), "/v2/app/manifests/v1".to_owned()] {
        let head = registry.head(&path).await;
        assert_eq!(head.status(), StatusCode::NOT_FOUND);
        assert!(head.bytes().await.unwrap().is_empty());
    }
}
