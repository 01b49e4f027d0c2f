//! Weighted choices: which size, which model, which key a call takes. The draw is an argument.

use std::str::FromStr;

use rand::Rng;

/// Things and how often each is taken, relative to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix<T> {
    /// Each with the sum of the weights up to it, its own included.
    items: Vec<(T, u64)>,
}

/// A mix that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMix {
    /// Nothing with a weight.
    #[error("nothing in it has a weight above 0")]
    Empty,
    /// An entry that cannot be read.
    #[error("'{0}' is not one of {1}")]
    Entry(String, &'static str),
}

impl<T> Mix<T> {
    /// Makes a mix of things and weights; those of weight 0 are left out.
    ///
    /// # Errors
    /// [`BadMix::Empty`] where nothing is left.
    pub fn of(weighted: impl IntoIterator<Item = (T, u32)>) -> Result<Self, BadMix> {
        let mut sum = 0;
        let weighted = weighted.into_iter().filter(|(_, weight)| *weight > 0);
        let items: Vec<_> = weighted
            .map(|(item, weight)| {
                sum += u64::from(weight);
                (item, sum)
            })
            .collect();
        if items.is_empty() { Err(BadMix::Empty) } else { Ok(Self { items }) }
    }

    /// Draws one.
    pub fn pick(&self, rng: &mut impl Rng) -> &T {
        let drawn = match self.items.len() {
            1 => 0,
            _ => rng.random_range(0..self.items.last().map_or(1, |(_, sum)| *sum)),
        };
        let at = self.items.partition_point(|(_, sum)| *sum <= drawn);
        &self.items[at].0
    }

    /// Every thing in it.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(item, _)| item)
    }

    /// The same weights on what `change` makes of each thing.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> Mix<U> {
        Mix { items: self.items.into_iter().map(|(item, sum)| (change(item), sum)).collect() }
    }
}

/// Bytes of request bodies: `SIZE` or `SIZE:WEIGHT`, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub Mix<usize>);

/// Names of models: `NAME` or `NAME=WEIGHT`, separated by commas. Names may hold colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models(pub Mix<String>);

/// The largest body that is asked for: what gateways take at most, and more.
const LARGEST: usize = 256 << 20;

impl FromStr for Sizes {
    type Err = BadMix;

    fn from_str(text: &str) -> Result<Self, BadMix> {
        let entry = |text: &str| {
            let (size, weight) = text.split_once(':').unwrap_or((text, "1"));
            Some((size.trim().parse().ok().filter(|size| *size <= LARGEST)?, weight.trim().parse().ok()?))
        };
        parse(text, "SIZE and SIZE:WEIGHT, sizes in bytes up to 256 MiB", entry).map(Self)
    }
}

impl FromStr for Models {
    type Err = BadMix;

    fn from_str(text: &str) -> Result<Self, BadMix> {
        let entry = |text: &str| {
            let (name, weight) = text.rsplit_once('=').unwrap_or((text, "1"));
            let name = name.trim();
            Some((name.to_owned(), weight.trim().parse().ok()?)).filter(|_| !name.is_empty())
        };
        parse(text, "NAME and NAME=WEIGHT", entry).map(Self)
    }
}

/// Reads the file of keys: one a line, its weight after it if that is not 1; `#` begins a comment.
///
/// # Errors
/// [`BadMix`] where a line has a third word or a weight that is no number. The key itself is not repeated.
pub fn keys(text: &str) -> Result<Mix<String>, BadMix> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(key) = words.next() else { continue };
        let weight = words.next().unwrap_or("1").parse();
        match (weight, words.next()) {
            (Ok(weight), None) => all.push((key.to_owned(), weight)),
            _ => return Err(BadMix::Entry(format!("line {}", number + 1), "KEY and KEY WEIGHT")),
        }
    }
    Mix::of(all)
}

fn parse<T>(
    text: &str,
    form: &'static str,
    entry: impl Fn(&str) -> Option<(T, u32)>,
) -> Result<Mix<T>, BadMix> {
    let entries = text.split(',').map(|part| entry(part).ok_or(BadMix::Entry(part.to_owned(), form)));
    Mix::of(entries.collect::<Result<Vec<_>, _>>()?)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn things_are_drawn_by_their_weight() {
        let Sizes(mix) = "200:70, 4096:25,150000:5,7:0".parse().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let drawn: Vec<usize> = (0..10_000).map(|_| *mix.pick(&mut rng)).collect();
        let count = |size| drawn.iter().filter(|one| **one == size).count();
        assert!((6_700..7_300).contains(&count(200)), "{}", count(200));
        assert!((2_200..2_800).contains(&count(4096)), "{}", count(4096));
        assert!((350..650).contains(&count(150_000)), "{}", count(150_000));
        assert_eq!(count(7), 0);
        let again: Vec<usize> = {
            let mut rng = StdRng::seed_from_u64(1);
            (0..10_000).map(|_| *mix.pick(&mut rng)).collect()
        };
        assert_eq!(drawn, again, "the seed decides");
    }

    #[test]
    fn names_of_models_may_hold_colons() {
        let Models(mix) = "llama3:8b=3,gpt".parse().unwrap();
        assert_eq!(mix.items().collect::<Vec<_>>(), ["llama3:8b", "gpt"]);
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for text in ["", "a", "1:", "1:x", "1:-1", "1,,2", "300000000"] {
            assert!(matches!(text.parse::<Sizes>(), Err(BadMix::Entry(..))), "{text}");
        }
        assert_eq!("1:0".parse::<Sizes>(), Err(BadMix::Empty));
        assert!("=3".parse::<Models>().is_err());
        assert!("m=x".parse::<Models>().is_err());
    }

    #[test]
    fn keys_stand_one_a_line() {
        let mix = keys("# ours\nsk-a 3\n\n sk-b # the other\n").unwrap();
        assert_eq!(mix.items().collect::<Vec<_>>(), ["sk-a", "sk-b"]);
        assert_eq!(keys("# none\n"), Err(BadMix::Empty));
        let bad = keys("sk-a\nsk-secret three\n").unwrap_err().to_string();
        assert!(bad.contains("line 2") && !bad.contains("secret"), "{bad}");
    }
}
