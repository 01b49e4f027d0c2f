//! How providers of each dialect refuse: status and body, as their documentation and packages have them.

mod services;

use penstock::mock;
use serde_json::Value;

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Throttled,
    Overloaded,
    BadKey,
    OutOfCredit,
    BadRequest,
    ContentPolicy,
    NotFound,
    TooLong,
    /// A good status with an error in its body, or in what comes over a websocket.
    InsideSuccess,
}

pub const CLASSES: [Class; 9] = [
    Class::Throttled,
    Class::Overloaded,
    Class::BadKey,
    Class::OutOfCredit,
    Class::BadRequest,
    Class::ContentPolicy,
    Class::NotFound,
    Class::TooLong,
    Class::InsideSuccess,
];

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Overloaded => "overloaded",
            Self::BadKey => "bad-key",
            Self::OutOfCredit => "out-of-credit",
            Self::BadRequest => "bad-request",
            Self::ContentPolicy => "content-policy",
            Self::NotFound => "not-found",
            Self::TooLong => "too-long",
            Self::InsideSuccess => "inside-200",
        }
    }

    /// The class of a number, as [`CLASSES`] has them.
    pub fn of(number: &str) -> Option<Self> {
        CLASSES.get(number.parse::<usize>().ok()?).copied()
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A dialect's refusals, in the order of [`CLASSES`], and a provider that speaks it.
pub struct Sample {
    pub dialect: &'static str,
    pub provider: &'static str,
    pub path: &'static str,
    pub model: &'static str,
    /// More lines of a channel's settings.
    pub more: &'static str,
    credential: &'static str,
    refusals: [(u16, &'static str); 9],
}

impl Sample {
    /// Status and body of a refusal.
    pub fn refusal(&self, class: Class) -> (u16, &'static str) {
        self.refusals[class as usize]
    }

    /// The line of a credential; tokens are got at the provider's own address.
    pub fn credential(&self, address: &str) -> String {
        let text = match self.credential {
            ACCOUNT => mock::service_account(address),
            text => text.to_owned(),
        };
        format!("credential = {}\n", Value::from(text))
    }
}

/// The code by which a body says what is wrong, or its beginning.
pub fn code(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let places = [
        "/error/code",
        "/error/status",
        "/error/type",
        "/header/code",
        "/__type",
        "/code",
        "/Response/Error/Code",
        "/error_code",
        "/errCode",
        "/errors/0/code",
        "/message",
        "/error",
    ];
    let found = places.iter().filter_map(|place| json.pointer(place));
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    found.filter_map(text).next().map_or_else(String::new, |code| format!("`{code}`"))
}

const ACCOUNT: &str = "(account)";
const SIGNED: &str = "AKIDEXAMPLE|penstock-mock-secret";
const USUAL: Sample = Sample {
    dialect: "",
    provider: "",
    path: "",
    model: "model-1",
    more: "",
    credential: "the-secret-credential",
    refusals: [(500, "{}"); 9],
};
const REGION: &str = "params = { region = \"us-east-1\" }";

/// What a provider never says.
pub const NONE: (u16, &str) = (0, "{}");

const ANTHROPIC: [(u16, &str); 9] = [
    (
        429,
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your rate limit."}}"#,
    ),
    (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
    (
        401,
        r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key the-secret-credential"}}"#,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: at least one message is required"}}"#,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
    ),
    (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: model-1"}}"#),
    (
        413,
        r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
    ),
    (200, r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#),
];
const OPENAI: [(u16, &str); 9] = [
    (
        429,
        r#"{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
    ),
    (
        503,
        r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}"#,
    ),
    (
        401,
        r#"{"error":{"message":"Incorrect API key provided: the-secret-credential.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
    ),
    (
        429,
        r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
    ),
    (
        400,
        r#"{"error":{"message":"Invalid value for 'temperature'.","type":"invalid_request_error","param":"temperature","code":"invalid_value"}}"#,
    ),
    (
        400,
        r#"{"error":{"message":"Your request was rejected as a result of our safety system.","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}"#,
    ),
    (
        404,
        r#"{"error":{"message":"The model 'model-1' does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
    ),
    (
        400,
        r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
    ),
    (
        200,
        r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#,
    ),
];
const GOOGLE: [(u16, &str); 9] = [
    (
        429,
        r#"{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}}"#,
    ),
    (
        503,
        r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
    ),
    (
        429,
        r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED"}}"#,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"Invalid value at 'generation_config.temperature'","status":"INVALID_ARGUMENT"}}"#,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"The prompt was blocked for safety.","status":"INVALID_ARGUMENT"}}"#,
    ),
    (
        404,
        r#"{"error":{"code":404,"message":"models/model-1 is not found for API version v1beta","status":"NOT_FOUND"}}"#,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"The input token count exceeds the maximum number of tokens allowed.","status":"INVALID_ARGUMENT"}}"#,
    ),
    (200, r#"{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}"#),
];
const BEDROCK: [(u16, &str); 9] = [
    (
        429,
        r#"{"__type":"ThrottlingException","message":"Too many requests, please wait before trying again."}"#,
    ),
    (503, r#"{"__type":"ServiceUnavailableException","message":"The service is temporarily unavailable."}"#),
    (
        403,
        r#"{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}"#,
    ),
    (400, r#"{"__type":"ServiceQuotaExceededException","message":"Your account's quota is used up."}"#),
    (400, r#"{"__type":"ValidationException","message":"Malformed input request."}"#),
    (400, r#"{"__type":"ValidationException","message":"The request was blocked by our content filters."}"#),
    (404, r#"{"__type":"ResourceNotFoundException","message":"The model is not found."}"#),
    (400, r#"{"__type":"ValidationException","message":"Input is too long for requested model."}"#),
    (200, r#"{"__type":"InternalServerException","message":"An internal error occurred."}"#),
];
const COHERE: [(u16, &str); 9] = [
    (429, r#"{"message":"You are past the per minute request limit, please wait and try again later."}"#),
    (503, r#"{"message":"service unavailable"}"#),
    (401, r#"{"message":"invalid api token"}"#),
    (402, r#"{"message":"Please add or update your payment method in your dashboard to continue"}"#),
    (400, r#"{"message":"invalid request: temperature must be between 0 and 1.0 inclusive."}"#),
    (400, r#"{"message":"invalid request: your request was blocked by our content filters"}"#),
    (
        404,
        r#"{"message":"model 'model-1' not found, make sure the correct model ID was used and that you have access to the model."}"#,
    ),
    (
        400,
        r#"{"message":"too many tokens: total number of tokens in the prompt exceeds the limit of 128000."}"#,
    ),
    (200, r#"{"message":"internal server error"}"#),
];

/// Every dialect that providers speak.
/// Every dialect's.
pub fn samples() -> impl Iterator<Item = &'static Sample> {
    SAMPLES.iter().chain(services::SERVICES)
}

const SAMPLES: &[Sample] = &[
    Sample { dialect: "openai", provider: "openai", refusals: OPENAI, ..USUAL },
    Sample { dialect: "anthropic", provider: "anthropic", refusals: ANTHROPIC, ..USUAL },
    Sample { dialect: "gemini", provider: "gemini", refusals: GOOGLE, ..USUAL },
    Sample { dialect: "openai-responses", provider: "openai-responses", refusals: OPENAI, ..USUAL },
    Sample {
        dialect: "bedrock-claude",
        provider: "bedrock-claude",
        credential: SIGNED,
        more: REGION,
        refusals: BEDROCK,
        ..USUAL
    },
    Sample {
        dialect: "bedrock-converse",
        provider: "bedrock",
        credential: SIGNED,
        more: REGION,
        refusals: BEDROCK,
        ..USUAL
    },
    Sample { dialect: "cohere", provider: "cohere", refusals: COHERE, ..USUAL },
    Sample {
        dialect: "ollama",
        provider: "ollama-native",
        refusals: [
            (429, r#"{"error":"too many requests"}"#),
            (503, r#"{"error":"server busy, please try again. maximum pending requests exceeded"}"#),
            (401, r#"{"error":"unauthorized"}"#),
            (402, r#"{"error":"you've reached your weekly usage limit"}"#),
            (400, r#"{"error":"invalid option provided: temperature"}"#),
            (400, r#"{"error":"the prompt was refused"}"#),
            (404, r#"{"error":"model 'model-1' not found"}"#),
            (400, r#"{"error":"the input length exceeds the context length"}"#),
            (200, r#"{"error":"an error was encountered while running the model"}"#),
        ],
        ..USUAL
    },
    Sample {
        dialect: "vertex-claude",
        provider: "vertex-claude",
        credential: ACCOUNT,
        more: "params = { project = \"penstock-mock\", region = \"eu\" }",
        refusals: ANTHROPIC,
        ..USUAL
    },
    Sample {
        dialect: "hunyuan",
        provider: "hunyuan",
        credential: SIGNED,
        refusals: [
            (
                200,
                r#"{"Response":{"Error":{"Code":"RequestLimitExceeded","Message":"Too many requests."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"FailedOperation.EngineServerLimitExceeded","Message":"The engine is full."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"The signature does not match."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"FailedOperation.ResourcePackExhausted","Message":"The resource pack is used up."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"InvalidParameterValue","Message":"Temperature is wrong."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"OperationDenied.TextIllegalDetected","Message":"The text is illegal."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"InvalidParameterValue.Model","Message":"There is no such model."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"InvalidParameter","Message":"The input is too long."},"RequestId":"r"}}"#,
            ),
            (
                200,
                r#"{"Response":{"Error":{"Code":"InternalError","Message":"An internal error."},"RequestId":"r"}}"#,
            ),
        ],
        ..USUAL
    },
    Sample {
        dialect: "dashscope",
        provider: "dashscope-native",
        refusals: [
            (
                429,
                r#"{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded.","request_id":"r"}"#,
            ),
            (
                503,
                r#"{"code":"ModelServingError","message":"Too many requests. Your requests are being throttled.","request_id":"r"}"#,
            ),
            (401, r#"{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"r"}"#),
            (
                400,
                r#"{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing.","request_id":"r"}"#,
            ),
            (400, r#"{"code":"InvalidParameter","message":"temperature is wrong.","request_id":"r"}"#),
            (
                400,
                r#"{"code":"DataInspectionFailed","message":"Input data may contain inappropriate content.","request_id":"r"}"#,
            ),
            (404, r#"{"code":"ModelNotFound","message":"Model can not be found.","request_id":"r"}"#),
            (
                400,
                r#"{"code":"InvalidParameter","message":"Range of input length should be [1, 6000].","request_id":"r"}"#,
            ),
            (200, r#"{"code":"InternalError.Algo","message":"An internal error.","request_id":"r"}"#),
        ],
        ..USUAL
    },
    Sample { dialect: "cohere-v1", provider: "cohere-v1", refusals: COHERE, ..USUAL },
    Sample {
        dialect: "wenxin",
        provider: "wenxin",
        credential: "an-api-key|penstock-mock-secret",
        refusals: [
            (200, r#"{"error_code":18,"error_msg":"Open api qps request limit reached"}"#),
            (200, r#"{"error_code":336100,"error_msg":"the server is too busy, please try again later"}"#),
            (200, r#"{"error_code":110,"error_msg":"Access token invalid or no longer valid"}"#),
            (200, r#"{"error_code":17,"error_msg":"Open api daily request limit reached"}"#),
            (200, r#"{"error_code":336003,"error_msg":"temperature should be in (0, 1.0]"}"#),
            (200, r#"{"error_code":336104,"error_msg":"the prompt was refused"}"#),
            (200, r#"{"error_code":3,"error_msg":"Unsupported openapi method"}"#),
            (200, r#"{"error_code":336007,"error_msg":"the max input characters is 20000"}"#),
            (200, r#"{"error_code":336000,"error_msg":"Internal error"}"#),
        ],
        ..USUAL
    },
    Sample {
        dialect: "zhipu-v3",
        provider: "zhipu-v3",
        credential: "an-id.penstock-mock-secret",
        refusals: [
            (429, r#"{"code":1302,"msg":"too many calls at once","success":false}"#),
            (429, r#"{"code":1305,"msg":"the model is overloaded","success":false}"#),
            (401, r#"{"code":1002,"msg":"the token is illegal","success":false}"#),
            (429, r#"{"code":1113,"msg":"the account is in arrears","success":false}"#),
            (400, r#"{"code":1214,"msg":"temperature is wrong","success":false}"#),
            (400, r#"{"code":1301,"msg":"the prompt may be unsafe","success":false}"#),
            (400, r#"{"code":1211,"msg":"the model does not exist","success":false}"#),
            (400, r#"{"code":1261,"msg":"the prompt is too long","success":false}"#),
            (200, r#"{"code":1234,"msg":"a network error","success":false}"#),
        ],
        ..USUAL
    },
    Sample { dialect: "palm", provider: "palm", refusals: GOOGLE, ..USUAL },
    Sample {
        dialect: "cloudflare",
        provider: "cloudflare-run",
        more: "params = { account = \"mock\" }",
        refusals: [
            (
                429,
                r#"{"result":null,"success":false,"errors":[{"code":971,"message":"Please wait and consider throttling your request speed"}],"messages":[]}"#,
            ),
            (
                429,
                r#"{"result":null,"success":false,"errors":[{"code":3040,"message":"Capacity temporarily exceeded, please try again."}],"messages":[]}"#,
            ),
            (
                401,
                r#"{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[]}"#,
            ),
            (
                429,
                r#"{"result":null,"success":false,"errors":[{"code":3036,"message":"you have used up your daily free allocation"}],"messages":[]}"#,
            ),
            (
                400,
                r#"{"result":null,"success":false,"errors":[{"code":5004,"message":"Invalid input"}],"messages":[]}"#,
            ),
            (
                400,
                r#"{"result":null,"success":false,"errors":[{"code":3003,"message":"the prompt was refused"}],"messages":[]}"#,
            ),
            (
                400,
                r#"{"result":null,"success":false,"errors":[{"code":5007,"message":"No such model"}],"messages":[]}"#,
            ),
            (
                413,
                r#"{"result":null,"success":false,"errors":[{"code":3006,"message":"Request is too large"}],"messages":[]}"#,
            ),
            (
                200,
                r#"{"result":null,"success":false,"errors":[{"code":3000,"message":"Unknown internal error"}],"messages":[]}"#,
            ),
        ],
        ..USUAL
    },
    Sample {
        dialect: "aiproxy-library",
        provider: "aiproxy-library",
        more: "params = { library_id = \"lib-1\" }",
        refusals: [
            (429, r#"{"success":false,"errCode":429,"message":"slow down"}"#),
            (503, r#"{"success":false,"errCode":503,"message":"overloaded"}"#),
            (401, r#"{"success":false,"errCode":401,"message":"the key is not valid"}"#),
            (402, r#"{"success":false,"errCode":402,"message":"no points are left"}"#),
            (400, r#"{"success":false,"errCode":400,"message":"query is wrong"}"#),
            (400, r#"{"success":false,"errCode":400,"message":"the query was refused"}"#),
            (404, r#"{"success":false,"errCode":404,"message":"there is no such library"}"#),
            (413, r#"{"success":false,"errCode":413,"message":"the query is too long"}"#),
            (200, r#"{"success":false,"errCode":1001,"message":"an internal error"}"#),
        ],
        ..USUAL
    },
];
