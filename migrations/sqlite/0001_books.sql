-- The books, keys and the request log. Amounts are nano-dollars, times milliseconds since 1970.

-- Whose things are kept apart.
CREATE TABLE IF NOT EXISTS space (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
);

-- What money is drawn from; the balance is the sum of its entries.
CREATE TABLE IF NOT EXISTS account (
    id INTEGER NOT NULL PRIMARY KEY,
    space_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    balance INTEGER NOT NULL,
    is_limited BOOLEAN NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);

-- Keys: hashes only. live_name is the name while it is taken, null once it is free again.
CREATE TABLE IF NOT EXISTS api_key (
    id INTEGER NOT NULL PRIMARY KEY,
    space_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    live_name TEXT,
    origin TEXT NOT NULL,
    status TEXT NOT NULL,
    digest TEXT NOT NULL,
    old_digest TEXT,
    old_until_ms INTEGER,
    prefix TEXT NOT NULL,
    account_id INTEGER NOT NULL,
    parent_id INTEGER,
    group_name TEXT NOT NULL,
    models TEXT,
    expires_ms INTEGER,
    may_pin BOOLEAN NOT NULL,
    may_see_routing BOOLEAN NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS api_key_by_digest ON api_key (digest);
CREATE UNIQUE INDEX IF NOT EXISTS api_key_by_live_name ON api_key (space_id, live_name);
CREATE UNIQUE INDEX IF NOT EXISTS api_key_by_account ON api_key (account_id);
CREATE INDEX IF NOT EXISTS api_key_by_parent ON api_key (parent_id);

-- Every change of a balance: a batch of usage by the stretch of journal it stands for, all else singly.
CREATE TABLE IF NOT EXISTS ledger_entry (
    id INTEGER NOT NULL PRIMARY KEY,
    account_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    amount INTEGER NOT NULL,
    node INTEGER,
    boot INTEGER,
    worker INTEGER,
    from_offset INTEGER,
    to_offset INTEGER,
    note TEXT NOT NULL,
    at_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS ledger_entry_by_stretch ON ledger_entry (account_id, node, boot, worker, from_offset);
CREATE INDEX IF NOT EXISTS ledger_entry_by_at ON ledger_entry (at_ms);

-- How far a consumer has come in each stream of the journal.
CREATE TABLE IF NOT EXISTS consumer_position (
    consumer TEXT NOT NULL,
    node INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    up_to INTEGER NOT NULL,
    PRIMARY KEY (consumer, node, boot, worker)
) WITHOUT ROWID;

-- A row a call.
CREATE TABLE IF NOT EXISTS request_log (
    call_id BLOB NOT NULL PRIMARY KEY,
    space_id INTEGER NOT NULL,
    node INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    arrived_ms INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    accounts TEXT NOT NULL,
    settled TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    code TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    is_stream BOOLEAN NOT NULL,
    model TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    channel TEXT NOT NULL,
    client_request_id TEXT NOT NULL,
    input INTEGER NOT NULL,
    cached_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    usage_source TEXT NOT NULL,
    reserved INTEGER NOT NULL,
    charge INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    price_version INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS request_log_by_arrival ON request_log (arrived_ms);
CREATE INDEX IF NOT EXISTS request_log_by_key ON request_log (key_id, arrived_ms);

-- A row a try.
CREATE TABLE IF NOT EXISTS call_attempt (
    call_id BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    channel TEXT NOT NULL,
    after_ms INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    status INTEGER NOT NULL,
    code TEXT NOT NULL,
    fault TEXT NOT NULL,
    PRIMARY KEY (call_id, attempt)
) WITHOUT ROWID;

-- Prices as they were when a call was priced.
CREATE TABLE IF NOT EXISTS price_version (
    version INTEGER NOT NULL PRIMARY KEY,
    model TEXT NOT NULL,
    content TEXT NOT NULL,
    first_seen_ms INTEGER NOT NULL
);

-- Which process speaks for a node.
CREATE TABLE IF NOT EXISTS node_claim (
    node INTEGER NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    nonce TEXT NOT NULL,
    seen_ms INTEGER NOT NULL
);

-- Moves with every change of keys and accounts that others must see.
CREATE TABLE IF NOT EXISTS revision (
    id INTEGER NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
);

-- The space that everything belongs to until there are more, and its account.
INSERT OR IGNORE INTO space (id, name) VALUES (1, 'default');
INSERT OR IGNORE INTO account (id, space_id, kind, balance, is_limited, created_ms, updated_ms) VALUES (1, 1, 'space', 0, 0, 0, 0);
INSERT OR IGNORE INTO revision (id, number) VALUES (1, 1);
