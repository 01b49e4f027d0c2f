-- Tokens of recordings and pictures, which have rates of their own; a row for a call that has any.
CREATE TABLE IF NOT EXISTS call_media (
    call_id BINARY(16) NOT NULL PRIMARY KEY,
    audio_in BIGINT NOT NULL,
    image_in BIGINT NOT NULL,
    audio_out BIGINT NOT NULL,
    image_out BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
