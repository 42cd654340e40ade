//! Every route against the OpenAPI document, and what it answers against the schemas there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::http::Site;

/// Paths of the document that are asked for, with what stands for their parameters.
const READ: [&str; 10] = [
    "/livez",
    "/readyz",
    "/health",
    "/metrics",
    "/openapi.json",
    "/api/performance/metrics",
    "/api/performance/connections",
    "/api/performance/backpressure",
    "/api/load",
    "/api/topics",
];

fn document() -> Value {
    serde_json::from_str(include_str!("../../src/admin/openapi.json")).unwrap()
}

/// Holds a value against a schema: what it has is what the document says, and nothing is missing.
fn holds(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let known = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name}"));
        return holds(document, known, value, place);
    }
    if let Some(Value::Array(kinds)) = schema.get("type") {
        assert!(kinds.iter().any(|kind| is_a(kind, value)), "{place}: {value}");
    } else if let Some(kind) = schema.get("type") {
        assert!(is_a(kind, value), "{place}: {value} is no {kind}");
    }
    if let (Some(all), false) = (schema["enum"].as_array(), value.is_null()) {
        assert!(all.contains(value), "{place}: {value}");
    }
    if let Value::Array(items) = value {
        for (number, item) in items.iter().enumerate() {
            holds(document, &schema["items"], item, &format!("{place}/{number}"));
        }
    }
    let (Value::Object(members), Some(properties)) = (value, schema["properties"].as_object()) else { return };
    for (name, member) in members {
        let place = format!("{place}/{name}");
        match properties.get(name) {
            Some(known) => holds(document, known, member, &place),
            None => {
                let others = schema.get("additionalProperties").unwrap_or_else(|| panic!("{place} is not in the document"));
                holds(document, others, member, &place);
            }
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(members.contains_key(name.as_str().unwrap()), "{place}: {name} is missing: {value}");
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }
}

/// The first media type of a response, with its schema.
fn content<'a>(document: &'a Value, path: &str, method: &str, status: u16) -> (&'a str, &'a Value) {
    let mut response = &document["paths"][path][method]["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {path} has no {status} in the document");
    if let Some(name) = response["$ref"].as_str() {
        response = document.pointer(name.trim_start_matches('#')).unwrap();
    }
    let (media, content) = response["content"].as_object().unwrap().iter().next().unwrap();
    (media, &content["schema"])
}

#[test]
fn every_route_answers_as_the_document_says() {
    let document = document();
    let site = Site::start(&[]);
    for path in READ {
        let answer = site.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let (media, schema) = content(&document, path, "get", 200);
        assert!(answer.has(&format!("content-type: {media}")), "{path}: {answer:?}");
        if media == "application/json" {
            holds(&document, schema, &answer.json(), path);
        }
    }
    let orders = [
        ("/api/connections/{id}/close", "/api/connections/0.1.1/close", "", 202),
        ("/api/connections/{id}/close", "/api/connections/x/close", "", 400),
        ("/api/connections/{id}/close", "/api/connections/9.1.1/close", "", 422),
        ("/api/performance/benchmark", "/api/performance/benchmark", "", 200),
        ("/api/drain", "/api/drain", "{\"within\":1}", 400),
        ("/api/drain", "/api/drain", "{\"within_ms\":0}", 202),
    ];
    for (path, target, body, status) in orders {
        let answer = site.ask("POST", target, &[], body);
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        holds(&document, content(&document, path, "post", status).1, &answer.json(), path);
    }
    let tried: BTreeSet<&str> =
        READ.into_iter().chain(orders.iter().map(|(path, ..)| *path)).chain(["/ws", "/ws/{target}"]).collect();
    let known: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(tried, known);
    let (code, ..) = site.server.finish();
    assert_eq!(code, 0, "it was to end");
}

/// The routes of the program, read out of its source.
#[test]
fn every_route_is_in_the_document() {
    let source = include_str!("../../src/admin/routes/mod.rs");
    let document = document();
    let mut found = 0;
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, rest) = line.split_once('"').unwrap();
        let method = if rest.starts_with(", post(") { "post" } else { "get" };
        let path = path.replace("{*", "{");
        assert!(document["paths"][&path][method].is_object(), "{method} {path}");
        found += 1;
    }
    let methods: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(found, methods);
}
