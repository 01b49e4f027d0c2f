//! How applications and services behind a chat refuse.

use super::{NONE, Sample, USUAL};

/// `code`, `message` and `status`, as the applications' API documents them.
const DIFY: [(u16, &str); 9] = [
    (
        429,
        r#"{"code":"too_many_requests","message":"Too many requests. Please try again later.","status":429}"#,
    ),
    (503, r#"{"code":"service_unavailable","message":"the service is busy","status":503}"#),
    (
        401,
        r#"{"code":"unauthorized","message":"Access token is invalid: the-secret-credential","status":401}"#,
    ),
    (
        400,
        r#"{"code":"provider_quota_exceeded","message":"the quota of the hosted model is exhausted","status":400}"#,
    ),
    (400, r#"{"code":"invalid_param","message":"query is required","status":400}"#),
    NONE,
    (
        400,
        r#"{"code":"app_unavailable","message":"App unavailable, please check your app configurations.","status":400}"#,
    ),
    NONE,
    (200, r#"{"event":"error","code":"internal_server_error","message":"an internal error","status":500}"#),
];

pub const SERVICES: &[Sample] = &[
    Sample { dialect: "dify", provider: "dify", refusals: DIFY, ..USUAL },
    Sample { dialect: "dify-completion", provider: "dify-completion", refusals: DIFY, ..USUAL },
    Sample {
        dialect: "coze",
        provider: "coze",
        refusals: [
            (200, r#"{"code":4020,"msg":"too many requests of this bot"}"#),
            (200, r#"{"code":4009,"msg":"the bot's model does not answer for load"}"#),
            (401, r#"{"code":700012006,"msg":"access token invalid: the-secret-credential"}"#),
            (200, r#"{"code":4028,"msg":"the free quota is used up"}"#),
            (200, r#"{"code":4000,"msg":"Request parameter error: user_id is required"}"#),
            (200, r#"{"code":4014,"msg":"the answer holds sensitive words"}"#),
            (200, r#"{"code":4200,"msg":"Requested resource bot_id does not exist"}"#),
            NONE,
            (200, r#"{"code":5000,"msg":"An internal server error occurred"}"#),
        ],
        ..USUAL
    },
    Sample {
        dialect: "spark",
        provider: "spark-websocket",
        model: "Spark-Max",
        credential: "an-app|the-secret-credential|a-key",
        refusals: [
            (101, r#"{"header":{"code":11202,"message":"licc limit","sid":"cht1","status":2}}"#),
            (101, r#"{"header":{"code":10110,"message":"xfyun service is busy","sid":"cht1","status":2}}"#),
            (401, r#"{"message":"HMAC signature does not match"}"#),
            (101, r#"{"header":{"code":11200,"message":"auth no license","sid":"cht1","status":2}}"#),
            (101, r#"{"header":{"code":10005,"message":"param value error","sid":"cht1","status":2}}"#),
            (101, r#"{"header":{"code":10013,"message":"the input was refused","sid":"cht1","status":2}}"#),
            NONE,
            (101, r#"{"header":{"code":10907,"message":"too many tokens","sid":"cht1","status":2}}"#),
            (101, r#"{"header":{"code":10012,"message":"engine internal error","sid":"cht1","status":2}}"#),
        ],
        ..USUAL
    },
    Sample {
        dialect: "deepl",
        provider: "deepl-free",
        model: "deepl-zh",
        refusals: [
            (429, r#"{"message":"Too many requests"}"#),
            (503, r#"{"message":"Resource currently unavailable"}"#),
            (403, r#"{"message":"Forbidden, the-secret-credential"}"#),
            (456, r#"{"message":"Quota exceeded"}"#),
            (400, r#"{"message":"Bad request","detail":"Value for 'target_lang' not supported."}"#),
            NONE,
            (404, r#"{"message":"Not found"}"#),
            (413, r#"{"message":"Request size exceeds the limit"}"#),
            NONE,
        ],
        ..USUAL
    },
    Sample {
        dialect: "replicate",
        provider: "replicate",
        model: "owner/name",
        refusals: [
            (429, r#"{"detail":"Request was throttled. Expected available in 1 second."}"#),
            (503, r#"{"title":"Service unavailable","detail":"try again","status":503}"#),
            (
                401,
                r#"{"title":"Unauthenticated","detail":"the token the-secret-credential is wrong","status":401}"#,
            ),
            (402, r#"{"title":"Insufficient credit","detail":"this account has none","status":402}"#),
            (
                422,
                r#"{"title":"Input validation failed","detail":"- input.temperature: Must be less than or equal to 5","status":422}"#,
            ),
            NONE,
            (404, r#"{"detail":"The requested resource could not be found."}"#),
            NONE,
            (
                201,
                r#"{"id":"p1","status":"failed","error":"CUDA out of memory","output":null,"urls":{"get":"https://api.replicate.com/v1/predictions/p1"}}"#,
            ),
        ],
        ..USUAL
    },
];
