-- Tokens of recordings and pictures, which have rates of their own.
-- MySQL adds a column only where it is missing if it is asked so.
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'request_log' AND column_name = 'audio_in');
SET @step = IF(@missing, 'ALTER TABLE request_log ADD COLUMN audio_in BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'request_log' AND column_name = 'image_in');
SET @step = IF(@missing, 'ALTER TABLE request_log ADD COLUMN image_in BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'request_log' AND column_name = 'audio_out');
SET @step = IF(@missing, 'ALTER TABLE request_log ADD COLUMN audio_out BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'request_log' AND column_name = 'image_out');
SET @step = IF(@missing, 'ALTER TABLE request_log ADD COLUMN image_out BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
