-- Which node has which background duty, and until when.
CREATE TABLE IF NOT EXISTS duty_lock (
    name VARCHAR(191) NOT NULL PRIMARY KEY,
    holder VARCHAR(191) NOT NULL,
    until_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
