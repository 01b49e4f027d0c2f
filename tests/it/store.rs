//! The store on SQLite, PostgreSQL and MariaDB: the same tests on each.

mod books;
mod faults;
mod keys;
mod log;
mod migrations;
