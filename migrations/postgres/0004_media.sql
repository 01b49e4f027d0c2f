-- Tokens of recordings and pictures, which have rates of their own.
ALTER TABLE request_log ADD COLUMN IF NOT EXISTS audio_in BIGINT NOT NULL DEFAULT 0;
ALTER TABLE request_log ADD COLUMN IF NOT EXISTS image_in BIGINT NOT NULL DEFAULT 0;
ALTER TABLE request_log ADD COLUMN IF NOT EXISTS audio_out BIGINT NOT NULL DEFAULT 0;
ALTER TABLE request_log ADD COLUMN IF NOT EXISTS image_out BIGINT NOT NULL DEFAULT 0;
