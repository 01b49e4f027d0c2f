//! What bytes are, told from their beginnings (WHATWG MIME Sniffing, section 6); a server's word counts only where
//! the bytes do not tell.

use super::Kind;

/// Beginnings that tell, and where they stand.
const KNOWN: [(usize, &[u8], &str); 19] = [
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypavif", "image/avif"),
    (0, b"%PDF-", "application/pdf"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
];

/// Kinds of files whose beginnings are those of archives, or none: the ends of their names and their types.
const BY_NAME: [(&str, &str); 6] = [
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("doc", "application/msword"),
    ("xls", "application/vnd.ms-excel"),
    ("ppt", "application/vnd.ms-powerpoint"),
];

/// Kinds of text, by the ends of their names.
const TEXTS: [(&str, &str); 7] = [
    ("csv", "text/csv"),
    ("md", "text/markdown"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xml", "text/xml"),
    ("css", "text/css"),
    ("js", "text/javascript"),
];

/// The media type that the first bytes tell, if they do.
pub fn of_bytes(bytes: &[u8]) -> Option<&'static str> {
    let riff = bytes.starts_with(b"RIFF");
    let fits = |(at, beginning, _): &&(usize, &[u8], &str)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(beginning)) && (*at != 8 || riff)
    };
    let mpeg = || matches!(bytes, [0xff, second, ..] if second & 0xe6 == 0xe2).then_some("audio/mpeg");
    KNOWN.iter().find(fits).map(|(.., media_type)| *media_type).or_else(mpeg)
}

/// What a medium is that came from an address: its bytes' word, then the server's and the name's.
///
/// # Errors
/// Why it cannot be what it was asked for as; ends the sentence "what is at the address".
pub fn media_type(kind: Kind, bytes: &[u8], declared: &str, url: &str) -> Result<&'static str, &'static str> {
    if bytes.is_empty() {
        return Err("is empty");
    }
    let told = of_bytes(bytes);
    match (kind, told) {
        (Kind::Image, Some(media_type)) if media_type.starts_with("image/") => Ok(media_type),
        (Kind::Image, _) => Err("is not a picture"),
        (Kind::File, Some(media_type)) => Ok(media_type),
        (Kind::File, None) => file(bytes, declared, url),
    }
}

fn file(bytes: &[u8], declared: &str, url: &str) -> Result<&'static str, &'static str> {
    let declared = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let office = bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\xd0\xcf\x11\xe0");
    if office {
        let known = BY_NAME.iter().find(|(_, media_type)| *media_type == declared);
        let known = known.or_else(|| BY_NAME.iter().find(|(end, _)| *end == ending));
        return known.map(|(_, media_type)| *media_type).ok_or("is an archive, not a document");
    }
    let is_text = !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    match is_text {
        true => {
            let known = TEXTS.iter().find(|(_, media_type)| *media_type == declared);
            let known = known.or_else(|| TEXTS.iter().find(|(end, _)| *end == ending));
            Ok(known.map_or("text/plain", |(_, media_type)| *media_type))
        }
        false => Err("is of no kind that is known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_what_they_are_whatever_the_server_says() {
        for (bytes, wanted) in [
            (&b"\x89PNG\r\n\x1a\n...."[..], Some("image/png")),
            (b"\xff\xd8\xff\xe0....", Some("image/jpeg")),
            (b"GIF89a....", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVEfmt ", Some("audio/wav")),
            (b"XXXX\0\0\0\0WEBPVP8 ", None),
            (b"\0\0\0\x18ftypheic", Some("image/heic")),
            (b"\0\0\0\x18ftypisom", Some("video/mp4")),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"ID3\x04", Some("audio/mpeg")),
            (b"\xff\xfb\x90\x64", Some("audio/mpeg")),
            (b"\xff\xfe\x90\x64", None),
            (b"<!DOCTYPE html>", None),
            (b"\x89PN", None),
            (b"", None),
        ] {
            assert_eq!(of_bytes(bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn a_picture_must_be_one_and_a_file_may_be_many_things() {
        let check = |kind, bytes: &[u8], declared, url| media_type(kind, bytes, declared, url);
        let (image, file) = (Kind::Image, Kind::File);
        assert_eq!(check(image, b"GIF89a", "text/html", "https://h/x.png"), Ok("image/gif"));
        assert_eq!(check(image, b"<html>", "image/png", "https://h/x.png"), Err("is not a picture"));
        assert_eq!(check(image, b"%PDF-1", "image/png", ""), Err("is not a picture"));
        assert_eq!(check(image, b"", "image/png", ""), Err("is empty"));
        assert_eq!(check(file, b"%PDF-1", "application/octet-stream", ""), Ok("application/pdf"));
        assert_eq!(check(file, b"a,b\n", "text/csv; charset=utf-8", "https://h/x"), Ok("text/csv"));
        assert_eq!(check(file, b"# a", "", "https://h/x.MD?y"), Ok("text/markdown"));
        assert_eq!(check(file, b"a", "application/x-odd", "https://h/x"), Ok("text/plain"));
        let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        assert_eq!(check(file, b"PK\x03\x04..", docx, "https://h/x"), Ok(docx));
        assert_eq!(check(file, b"PK\x03\x04..", "application/zip", "https://h/x.docx"), Ok(docx));
        assert!(check(file, b"PK\x03\x04..", "application/zip", "https://h/x.zip").is_err());
        assert!(check(file, b"a\0b", "text/plain", "").is_err());
    }
}
