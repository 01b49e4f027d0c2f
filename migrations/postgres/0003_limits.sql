-- What a key may take in a time, as its operator wrote it: a list in JSON. And whether an attempt that failed may be billed.
ALTER TABLE api_key ADD COLUMN IF NOT EXISTS limits TEXT;
ALTER TABLE call_attempt ADD COLUMN IF NOT EXISTS may_be_billed BOOLEAN NOT NULL DEFAULT FALSE;
