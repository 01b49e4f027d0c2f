-- The books, keys and the request log. Amounts are nano-dollars, times milliseconds since 1970.
-- DDL commits by itself here: each statement may run again after an interruption.

-- Whose things are kept apart.
CREATE TABLE IF NOT EXISTS space (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(256) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What money is drawn from; the balance is the sum of its entries.
CREATE TABLE IF NOT EXISTS account (
    id BIGINT NOT NULL PRIMARY KEY,
    space_id BIGINT NOT NULL,
    kind VARCHAR(191) NOT NULL,
    balance BIGINT NOT NULL,
    is_limited BOOLEAN NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Keys: hashes only. live_name is the name while it is taken, null once it is free again.
CREATE TABLE IF NOT EXISTS api_key (
    id BIGINT NOT NULL PRIMARY KEY,
    space_id BIGINT NOT NULL,
    name VARCHAR(256) NOT NULL,
    live_name VARCHAR(128),
    origin VARCHAR(191) NOT NULL,
    status VARCHAR(191) NOT NULL,
    digest CHAR(64) NOT NULL,
    old_digest CHAR(64),
    old_until_ms BIGINT,
    prefix VARCHAR(191) NOT NULL,
    account_id BIGINT NOT NULL,
    parent_id BIGINT,
    group_name VARCHAR(256) NOT NULL,
    models MEDIUMTEXT,
    expires_ms BIGINT,
    may_pin BOOLEAN NOT NULL,
    may_see_routing BOOLEAN NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    UNIQUE KEY api_key_by_digest (digest),
    UNIQUE KEY api_key_by_live_name (space_id, live_name),
    UNIQUE KEY api_key_by_account (account_id),
    KEY api_key_by_parent (parent_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Every change of a balance: a batch of usage by the stretch of journal it stands for, all else singly.
CREATE TABLE IF NOT EXISTS ledger_entry (
    id BIGINT AUTO_INCREMENT NOT NULL PRIMARY KEY,
    account_id BIGINT NOT NULL,
    kind VARCHAR(191) NOT NULL,
    amount BIGINT NOT NULL,
    node BIGINT,
    boot BIGINT,
    worker BIGINT,
    from_offset BIGINT,
    to_offset BIGINT,
    note MEDIUMTEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    UNIQUE KEY ledger_entry_by_stretch (account_id, node, boot, worker, from_offset),
    KEY ledger_entry_by_at (at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How far a consumer has come in each stream of the journal.
CREATE TABLE IF NOT EXISTS consumer_position (
    consumer VARCHAR(64) NOT NULL,
    node BIGINT NOT NULL,
    boot BIGINT NOT NULL,
    worker BIGINT NOT NULL,
    up_to BIGINT NOT NULL,
    PRIMARY KEY (consumer, node, boot, worker)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A row a call.
CREATE TABLE IF NOT EXISTS request_log (
    call_id BINARY(16) NOT NULL PRIMARY KEY,
    space_id BIGINT NOT NULL,
    node BIGINT NOT NULL,
    boot BIGINT NOT NULL,
    worker BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    arrived_ms BIGINT NOT NULL,
    first_byte_ms BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    key_id BIGINT NOT NULL,
    accounts VARCHAR(191) NOT NULL,
    settled VARCHAR(191) NOT NULL,
    outcome VARCHAR(191) NOT NULL,
    status INTEGER NOT NULL,
    code VARCHAR(191) NOT NULL,
    endpoint VARCHAR(191) NOT NULL,
    is_stream BOOLEAN NOT NULL,
    model VARCHAR(256) NOT NULL,
    upstream_model VARCHAR(256) NOT NULL,
    channel VARCHAR(256) NOT NULL,
    client_request_id VARCHAR(256) NOT NULL,
    input BIGINT NOT NULL,
    cached_read BIGINT NOT NULL,
    cache_write_5m BIGINT NOT NULL,
    cache_write_1h BIGINT NOT NULL,
    output BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    usage_source VARCHAR(191) NOT NULL,
    reserved BIGINT NOT NULL,
    charge BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    price_version BIGINT NOT NULL,
    KEY request_log_by_arrival (arrived_ms),
    KEY request_log_by_key (key_id, arrived_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A row a try.
CREATE TABLE IF NOT EXISTS call_attempt (
    call_id BINARY(16) NOT NULL,
    attempt INTEGER NOT NULL,
    channel VARCHAR(256) NOT NULL,
    after_ms BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    status INTEGER NOT NULL,
    code VARCHAR(191) NOT NULL,
    fault VARCHAR(191) NOT NULL,
    PRIMARY KEY (call_id, attempt)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Prices as they were when a call was priced.
CREATE TABLE IF NOT EXISTS price_version (
    version BIGINT NOT NULL PRIMARY KEY,
    model VARCHAR(256) NOT NULL,
    content MEDIUMTEXT NOT NULL,
    first_seen_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which process speaks for a node.
CREATE TABLE IF NOT EXISTS node_claim (
    node BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    nonce VARCHAR(191) NOT NULL,
    seen_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Moves with every change of keys and accounts that others must see.
CREATE TABLE IF NOT EXISTS revision (
    id BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The space that everything belongs to until there are more, and its account.
INSERT IGNORE INTO space (id, name) VALUES (1, 'default');
INSERT IGNORE INTO account (id, space_id, kind, balance, is_limited, created_ms, updated_ms) VALUES (1, 1, 'space', 0, FALSE, 0, 0);
INSERT IGNORE INTO revision (id, number) VALUES (1, 1);
