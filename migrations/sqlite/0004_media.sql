-- Tokens of recordings and pictures, which have rates of their own.
ALTER TABLE request_log ADD COLUMN audio_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request_log ADD COLUMN image_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request_log ADD COLUMN audio_out INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request_log ADD COLUMN image_out INTEGER NOT NULL DEFAULT 0;
