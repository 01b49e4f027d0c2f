-- Tokens of recordings and pictures, which have rates of their own; a row for a call that has any.
CREATE TABLE IF NOT EXISTS call_media (
    call_id BLOB NOT NULL PRIMARY KEY,
    audio_in INTEGER NOT NULL,
    image_in INTEGER NOT NULL,
    audio_out INTEGER NOT NULL,
    image_out INTEGER NOT NULL
) WITHOUT ROWID;
