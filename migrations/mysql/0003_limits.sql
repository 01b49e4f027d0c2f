-- What a key may take in a time, as its operator wrote it: a list in JSON. And whether an attempt that failed may be billed.
-- MySQL adds a column only where it is missing if it is asked so.
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'api_key' AND column_name = 'limits');
SET @step = IF(@missing, 'ALTER TABLE api_key ADD COLUMN limits MEDIUMTEXT', 'DO 0');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'call_attempt' AND column_name = 'may_be_billed');
SET @step = IF(@missing, 'ALTER TABLE call_attempt ADD COLUMN may_be_billed BOOLEAN NOT NULL DEFAULT FALSE', 'DO 0');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
