-- Which node has which background duty, and until when.
CREATE TABLE IF NOT EXISTS duty_lock (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until_ms INTEGER NOT NULL
);
