//! The tables, as every backend has them. `migrations/` makes them.

use diesel::{allow_tables_to_appear_in_same_query, table};

table! {
    space (id) {
        id -> BigInt,
        name -> Text,
    }
}

table! {
    account (id) {
        id -> BigInt,
        space_id -> BigInt,
        kind -> Text,
        balance -> BigInt,
        is_limited -> Bool,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

table! {
    api_key (id) {
        id -> BigInt,
        space_id -> BigInt,
        name -> Text,
        live_name -> Nullable<Text>,
        origin -> Text,
        status -> Text,
        digest -> Text,
        old_digest -> Nullable<Text>,
        old_until_ms -> Nullable<BigInt>,
        prefix -> Text,
        account_id -> BigInt,
        parent_id -> Nullable<BigInt>,
        group_name -> Text,
        models -> Nullable<Text>,
        expires_ms -> Nullable<BigInt>,
        may_pin -> Bool,
        may_see_routing -> Bool,
        created_ms -> BigInt,
        updated_ms -> BigInt,
        limits -> Nullable<Text>,
    }
}

table! {
    ledger_entry (id) {
        id -> BigInt,
        account_id -> BigInt,
        kind -> Text,
        amount -> BigInt,
        node -> Nullable<BigInt>,
        boot -> Nullable<BigInt>,
        worker -> Nullable<BigInt>,
        from_offset -> Nullable<BigInt>,
        to_offset -> Nullable<BigInt>,
        note -> Text,
        at_ms -> BigInt,
    }
}

table! {
    consumer_position (consumer, node, boot, worker) {
        consumer -> Text,
        node -> BigInt,
        boot -> BigInt,
        worker -> BigInt,
        up_to -> BigInt,
    }
}

table! {
    request_log (call_id) {
        call_id -> Binary,
        space_id -> BigInt,
        node -> BigInt,
        boot -> BigInt,
        worker -> BigInt,
        ends_at -> BigInt,
        arrived_ms -> BigInt,
        first_byte_ms -> BigInt,
        took_ms -> BigInt,
        key_id -> BigInt,
        accounts -> Text,
        settled -> Text,
        outcome -> Text,
        status -> Integer,
        code -> Text,
        endpoint -> Text,
        is_stream -> Bool,
        model -> Text,
        upstream_model -> Text,
        channel -> Text,
        client_request_id -> Text,
        input -> BigInt,
        cached_read -> BigInt,
        cache_write_5m -> BigInt,
        cache_write_1h -> BigInt,
        output -> BigInt,
        reasoning -> BigInt,
        usage_source -> Text,
        reserved -> BigInt,
        charge -> BigInt,
        cost -> BigInt,
        price_version -> BigInt,
    }
}

table! {
    call_attempt (call_id, attempt) {
        call_id -> Binary,
        attempt -> Integer,
        channel -> Text,
        after_ms -> BigInt,
        took_ms -> BigInt,
        status -> Integer,
        code -> Text,
        fault -> Text,
        may_be_billed -> Bool,
    }
}

table! {
    call_media (call_id) {
        call_id -> Binary,
        audio_in -> BigInt,
        image_in -> BigInt,
        audio_out -> BigInt,
        image_out -> BigInt,
    }
}

table! {
    price_version (version) {
        version -> BigInt,
        model -> Text,
        content -> Text,
        first_seen_ms -> BigInt,
    }
}

table! {
    node_claim (node) {
        node -> BigInt,
        epoch -> BigInt,
        nonce -> Text,
        seen_ms -> BigInt,
    }
}

table! {
    duty_lock (name) {
        name -> Text,
        holder -> Text,
        until_ms -> BigInt,
    }
}

table! {
    revision (id) {
        id -> BigInt,
        number -> BigInt,
    }
}

allow_tables_to_appear_in_same_query!(account, api_key, ledger_entry);
