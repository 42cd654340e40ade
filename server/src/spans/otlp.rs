//! Job: spans as OTLP writes them in JSON: one request.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>
//! Knows: that form. Must never know: what a span is of.
//!
//! The crate of OpenTelemetry's own exporter brings forty others for its gRPC and Protobuf; this form is serde's to write, and every
//! collector takes it.

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::span::{Role, Span, Value};

/// Who tells.
const SCOPE: &str = "fanwire";
/// Flags of a span: its trace is recorded.
const SAMPLED: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: &'a str,
    kind: u32,
    // Numbers of 64 bits are texts in this form.
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Json>,
}

/// The body of a request that brings these spans of a process.
pub fn request(spans: &[Span], instance: u64) -> Vec<u8> {
    let instance = Value::Text(format!("{instance:016x}"));
    let version = Value::Text(env!("CARGO_PKG_VERSION").to_owned());
    let resource = [
        attribute("service.name", &Value::Text(SCOPE.to_owned())),
        attribute("service.version", &version),
        attribute("service.instance.id", &instance),
    ];
    let written: Vec<Written<'_>> = spans.iter().map(write).collect();
    let scope = json!({ "name": SCOPE, "version": env!("CARGO_PKG_VERSION") });
    let body = json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": scope, "spans": written }],
        }],
    });
    body.to_string().into_bytes()
}

fn write(span: &Span) -> Written<'_> {
    Written {
        trace_id: format!("{:032x}", span.trace),
        span_id: format!("{:016x}", span.id),
        parent_span_id: span.parent.map(|parent| format!("{parent:016x}")),
        flags: SAMPLED,
        name: &span.name,
        kind: match span.role {
            Role::Server => 2,
            Role::Producer => 4,
            Role::Consumer => 5,
        },
        start_time_unix_nano: span.begin_ns.to_string(),
        end_time_unix_nano: span.end_ns.to_string(),
        attributes: span.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
    }
}

fn attribute(key: &str, value: &Value) -> Json {
    match value {
        Value::Text(text) => json!({ "key": key, "value": { "stringValue": text } }),
        Value::Number(number) => json!({ "key": key, "value": { "intValue": number.to_string() } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_the_specification_has_it() {
        let span = Span {
            trace: 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c,
            id: 0xeee1_9b7e_c3c1_b174,
            parent: Some(1),
            name: "send a/b".into(),
            role: Role::Producer,
            begin_ns: 1_544_712_660_000_000_000,
            end_ns: 1_544_712_661_000_000_000,
            attributes: vec![("k", Value::Text("v".into())), ("n", Value::Number(u64::MAX))],
        };
        let body: Json = serde_json::from_slice(&request(&[span], 2)).expect("JSON");
        let resource = &body["resourceSpans"][0];
        let name = &resource["resource"]["attributes"][0];
        assert_eq!(*name, json!({ "key": "service.name", "value": { "stringValue": "fanwire" } }));
        let expected = json!([{
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": "eee19b7ec3c1b174",
            "parentSpanId": "0000000000000001",
            "flags": 1,
            "name": "send a/b",
            "kind": 4,
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": "1544712661000000000",
            "attributes": [
                { "key": "k", "value": { "stringValue": "v" } },
                { "key": "n", "value": { "intValue": "18446744073709551615" } },
            ],
        }]);
        assert_eq!(resource["scopeSpans"][0]["spans"], expected);
    }
}
