use katena_core::ErrorKind;
use katena_http::{Endpoint, Method};
use serde_json::{Value, json};

use super::call::build;
use super::spec::{ApiSpec, Operation};

fn spec() -> ApiSpec {
    let text = json!({
        "openapi": "3.1.0",
        "servers": [{"url": "https://evil.example"}],
        "paths": {
            "/users/{id}": {
                "parameters": [{"$ref": "#/components/parameters/Id"}],
                "get": {"operationId": "getUser", "summary": "One user", "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}, "maxItems": 3}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "Authorization", "in": "header", "required": true, "schema": {"type": "string"}},
                    {"name": "X-Forwarded-For", "in": "header", "schema": {"type": "string"}},
                ]},
                "delete": {"operationId": "deleteUser"},
                "put": {"requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/User"}}}}},
            },
            "/cookie": {"get": {"parameters": [{"name": "s", "in": "cookie", "required": true, "schema": {"type": "string"}}]}},
            "/upload": {"post": {"requestBody": {"required": true, "content": {"multipart/form-data": {}}}}},
            "/deep": {"get": {"parameters": [{"name": "filter", "in": "query", "required": true, "style": "deepObject", "schema": {"type": "object"}}]}},
            "/lost/{x}": {"get": {}},
            "/../admin": {"get": {}},
            "/zusers": {"get": {"operationId": "getUser"}},
        },
        "components": {
            "parameters": {"Id": {"name": "id", "in": "path", "required": true, "schema": {"$ref": "#/components/schemas/Id"}}},
            "schemas": {
                "Id": {"type": "string", "maxLength": 40},
                "User": {"type": "object", "required": ["name"], "properties": {
                    "id": {"type": "integer", "readOnly": true},
                    "name": {"type": "string", "minLength": 1},
                    "role": {"enum": ["admin", "guest"]},
                    "age": {"type": "integer", "nullable": true, "minimum": 0},
                    "friend": {"$ref": "#/components/schemas/User"},
                }},
            },
        },
    });
    ApiSpec::parse(&text.to_string()).unwrap()
}

fn operation(id: &str) -> Operation {
    spec().operations().iter().find(|o| o.id == id).unwrap().clone()
}

fn endpoint() -> Endpoint {
    Endpoint::new("https://api.example.com/v1?key=app-secret").unwrap().with_header("x-trace", "mine-secret")
}

fn told(id: &str, arguments: Value) -> Result<Value, String> {
    let endpoint = Endpoint::new("https://api.example.com/v1").unwrap();
    match build(&operation(id), arguments.as_object().unwrap(), &endpoint) {
        Ok(call) => Ok(call.told),
        Err(error) => Err(error.message().to_owned()),
    }
}

#[test]
fn what_can_be_called_is_read_and_the_rest_is_said() {
    let spec = spec();
    let ids: Vec<(&str, Method)> = spec.operations().iter().map(|o| (o.id.as_str(), o.method)).collect();
    for one in [("getUser", Method::Get), ("put_users__id", Method::Put), ("deleteUser", Method::Delete)] {
        assert!(ids.contains(&one), "{one:?}: {ids:?}");
    }
    assert_eq!(ids.len(), 3);
    let skipped: Vec<&str> = spec.skipped().iter().map(|s| s.operation.as_str()).collect();
    for operation in ["get /cookie", "post /upload", "get /deep", "get /lost/{x}", "get /../admin"] {
        assert!(skipped.contains(&operation), "{operation}: {skipped:?}");
    }
    assert_eq!(skipped.len(), 6);
    let user = operation("getUser");
    assert_eq!(user.arguments["properties"]["id"], json!({"type": "string", "maxLength": 40}));
    assert!(user.arguments["properties"]["Authorization"].is_null(), "keys are the application's");
    assert!(user.arguments["properties"]["X-Forwarded-For"].is_null());
    let body = &operation("put_users__id").arguments["properties"]["body"];
    assert!(
        body["properties"]["id"].is_null() && body["properties"]["age"]["type"] == json!(["integer", "null"])
    );
    assert_eq!(spec.with_only(["deleteUser"]).operations().len(), 1);
}

#[test]
fn arguments_stay_in_their_place() {
    let path = |id: &str| told("getUser", json!({"id": id})).map(|t| t["path"].as_str().unwrap().to_owned());
    assert_eq!(path("7").unwrap(), "/users/7");
    assert_eq!(path("a/../../admin").unwrap(), "/users/a%2F..%2F..%2Fadmin");
    assert_eq!(path("?admin=1#x").unwrap(), "/users/%3Fadmin%3D1%23x");
    assert_eq!(path("%2e%2e").unwrap(), "/users/%252e%252e");
    assert_eq!(path("..\\..").unwrap(), "/users/..%5C..");
    assert_eq!(path("{id}é").unwrap(), "/users/%7Bid%7D%C3%A9");
    for bad in ["", ".", "..", "a\r\nHost: evil", "x\0"] {
        assert!(path(bad).is_err(), "{bad:?}");
    }
    assert!(path(&"x".repeat(41)).unwrap_err().contains("length"));
    let call =
        build(&operation("getUser"), json!({"id": "a/../b"}).as_object().unwrap(), &endpoint()).unwrap();
    assert!(
        format!("{:?}", call.request).contains("https://api.example.com/v1/users/a%2F..%2Fb"),
        "{:?}",
        call.request
    );
    assert!(!call.told.to_string().contains("secret") && !format!("{:?}", call.request).contains("secret"));
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    for (id, arguments, why) in [
        ("getUser", json!({}), "misses id"),
        ("getUser", json!({"id": 7}), "must be of type string"),
        ("getUser", json!({"id": "7", "other": 1}), "has no other"),
        ("getUser", json!({"id": "7", "fields": "name"}), "must be of type array"),
        ("getUser", json!({"id": "7", "fields": ["a", 1]}), "fields[1] must be of type string"),
        ("getUser", json!({"id": "7", "fields": ["a", "b", "c", "d"]}), "count out of range"),
        ("getUser", json!({"id": null}), "must be of type string"),
        ("put_users__id", json!({"id": "7"}), "misses body"),
        ("put_users__id", json!({"id": "7", "body": {}}), "arguments.body misses name"),
        ("put_users__id", json!({"id": "7", "body": {"name": "", "role": "admin"}}), "length out of range"),
        ("put_users__id", json!({"id": "7", "body": {"name": "x", "role": "root"}}), "must be one of"),
        ("put_users__id", json!({"id": "7", "body": {"name": "x", "age": -1}}), "out of range"),
        ("put_users__id", json!({"id": "7", "body": {"name": "x", "isAdmin": true}}), "has no isAdmin"),
    ] {
        let error = told(id, arguments.clone()).unwrap_err();
        assert!(error.contains(why), "{arguments}: {error}");
    }
    let good = told("getUser", json!({"id": "7", "fields": ["a b", "c"], "X-Trace": null})).unwrap();
    assert_eq!(good["query"], json!([["fields", "a b"], ["fields", "c"]]));
    told("put_users__id", json!({"id": "7", "body": {"name": "x", "age": null, "friend": {"name": "y"}}}))
        .unwrap();
    // What the application sets is not the model's.
    let own =
        build(&operation("getUser"), json!({"id": "7", "X-Trace": "t"}).as_object().unwrap(), &endpoint());
    assert!(own.err().unwrap().message().contains("X-Trace can't be set"));
}

#[test]
fn hostile_descriptions_are_errors() {
    let circle = json!({"openapi": "3.0.0", "paths": {"/a": {"get": {"parameters": [{"$ref": "#/components/parameters/A"}]}}},
        "components": {"parameters": {"A": {"$ref": "#/components/parameters/A"}}}});
    let outside = json!({"openapi": "3.0.0", "paths": {"/a": {"$ref": "https://evil.example/a.json"}}});
    // Each level asks for the next twice: 2^8 parts at the limit of depth, times many operations.
    let mut schemas = serde_json::Map::new();
    for n in 0..30 {
        let next = json!({"$ref": format!("#/components/schemas/S{}", n + 1)});
        schemas.insert(format!("S{n}"), json!({"properties": {"a": next, "b": next, "c": next, "d": next}}));
    }
    schemas.insert("S30".into(), json!({}));
    let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}});
    let bomb = json!({"openapi": "3.0.0", "paths": {"/a": {"post": {"requestBody": body}, "put": {"requestBody": body}}},
        "components": {"schemas": schemas}});
    let many: serde_json::Map<String, Value> =
        (0..600).map(|n| (format!("/{n}"), json!({"get": {}}))).collect();
    for (text, kind) in [
        (circle.to_string(), ErrorKind::InvalidInput),
        (outside.to_string(), ErrorKind::Unsupported),
        (bomb.to_string(), ErrorKind::InvalidInput),
        (json!({"openapi": "3.0.0", "paths": many}).to_string(), ErrorKind::InvalidInput),
        (json!({"swagger": "2.0"}).to_string(), ErrorKind::Unsupported),
        (json!({"openapi": "3.0.0"}).to_string(), ErrorKind::InvalidInput),
        ("[".repeat(100_000), ErrorKind::InvalidInput),
        (" ".repeat(5 << 20), ErrorKind::InvalidInput),
        (String::new(), ErrorKind::InvalidInput),
    ] {
        assert_eq!(ApiSpec::parse(&text).unwrap_err().kind(), kind, "{}", &text[..text.len().min(80)]);
    }
    // Shapes that are none.
    for paths in [
        json!({"/a": 1}),
        json!({"/a": {"get": []}}),
        json!({"/a": {"get": {"parameters": [1, {}, {"in": "query"}]}}}),
    ] {
        let parsed = ApiSpec::parse(&json!({"openapi": "3.0.0", "paths": paths}).to_string());
        assert!(parsed.is_ok(), "{parsed:?}");
    }
}
