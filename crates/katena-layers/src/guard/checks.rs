//! Checks that come with the guard.

use std::fmt;

use async_trait::async_trait;
use katena_core::{Context, Result};

use super::{Check, Verdict};

/// What a check does where it finds something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Replaces it.
    #[default]
    Redact,
    /// Refuses the text.
    Refuse,
}

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PiiKind {
    /// E-mail addresses.
    Email,
    /// Phone numbers: `+` and 8 to 15 digits, or 10 to 15 digits in groups.
    Phone,
    /// Card numbers: 13 to 19 digits that pass the Luhn check.
    Card,
}

impl PiiKind {
    fn mark(self) -> &'static str {
        match self {
            Self::Email => "[email]",
            Self::Phone => "[phone]",
            Self::Card => "[card]",
        }
    }
}

/// Finds e-mail addresses, phone and card numbers by their form: a net with holes, not a promise.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::Context;
/// use katena_layers::{Check, Pii, Verdict};
/// let verdict = Pii::new().check("Card 4111 1111 1111 1111, thanks", &Context::new()).await.unwrap();
/// assert_eq!(verdict, Verdict::Redact("Card [card], thanks".into()));
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Pii {
    kinds: Vec<PiiKind>,
    action: Action,
}

impl Default for Pii {
    fn default() -> Self {
        Self::new()
    }
}

impl Pii {
    /// All kinds, redacted to `[email]`, `[phone]`, `[card]`.
    pub fn new() -> Self {
        Self { kinds: vec![PiiKind::Email, PiiKind::Phone, PiiKind::Card], action: Action::default() }
    }

    /// Only these kinds.
    pub fn with_kinds(mut self, kinds: impl IntoIterator<Item = PiiKind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// Sets what is done.
    pub fn with_action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    fn redact(&self, text: &str) -> (String, Option<PiiKind>) {
        let mut out = String::with_capacity(text.len());
        let mut found = None;
        // Before this place, digits belong to a longer number that is no phone's.
        let (mut at, mut no_phone_until) = (0, 0);
        while let Some(c) = text[at..].chars().next() {
            match self.find(text, at, &mut no_phone_until) {
                Some((kind, length)) => {
                    found = Some(kind);
                    out.push_str(kind.mark());
                    at += length;
                }
                None => {
                    out.push(c);
                    at += c.len_utf8();
                }
            }
        }
        (out, found)
    }

    /// What begins at this place, and its length.
    fn find(&self, text: &str, at: usize, no_phone_until: &mut usize) -> Option<(PiiKind, usize)> {
        let (before, rest) = text.split_at(at);
        let before = before.chars().next_back();
        let wants = |kind| self.kinds.contains(&kind);
        if wants(PiiKind::Email)
            && !before.is_some_and(in_local)
            && let Some(length) = email(rest)
        {
            return Some((PiiKind::Email, length));
        }
        let first = rest.chars().next()?;
        if before.is_some_and(|b| b.is_alphanumeric() || b == '+')
            || !(first.is_ascii_digit() || matches!(first, '+' | '('))
        {
            return None;
        }
        let number = Number::read(rest)?;
        if wants(PiiKind::Card)
            && let Some(length) = number.card()
        {
            return Some((PiiKind::Card, length));
        }
        let phones = wants(PiiKind::Phone) && at >= *no_phone_until;
        *no_phone_until = (*no_phone_until).max(at + number.length);
        let grouped = rest[..number.length].contains([' ', '-', '(', '.']);
        let least = if first == '+' { 8 } else { 10 };
        let phone = (least..=15).contains(&number.count) && (first == '+' || grouped || first == '0');
        (phones && phone && !number.goes_on).then_some((PiiKind::Phone, number.length))
    }
}

fn in_local(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-')
}

/// The longest address that a mail server takes.
const EMAIL_LIMIT: usize = 320;

/// The length of an e-mail address at the beginning.
fn email(text: &str) -> Option<usize> {
    let local = text.find(|c| !in_local(c))?;
    if local == 0 || local > EMAIL_LIMIT || !text[local..].starts_with('@') {
        return None;
    }
    let domain = &text[local + 1..];
    let end = domain.find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(domain.len());
    let domain = domain[..end].trim_end_matches(['.', '-']);
    if domain.len() > EMAIL_LIMIT {
        return None;
    }
    let (_, top) = domain.rsplit_once('.')?;
    (top.chars().count() >= 2 && top.chars().all(char::is_alphabetic)).then_some(local + 1 + domain.len())
}

/// Digits with up to two separators between them, as far as they go.
struct Number {
    length: usize,
    count: usize,
    /// The first digits, one more than a card has.
    digits: Vec<u8>,
    /// Where groups of digits end, and how many digits came until there.
    ends: Vec<(usize, usize)>,
    /// A letter follows at once.
    goes_on: bool,
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        let mut number = Self { length: 0, count: 0, digits: Vec::new(), ends: Vec::new(), goes_on: false };
        let mut separators = 0;
        for (at, c) in text.char_indices() {
            match c {
                '0'..='9' => {
                    if separators > 0 && number.count > 0 {
                        number.ends.push((number.length, number.count));
                    }
                    if number.digits.len() < 20 {
                        number.digits.push(c as u8 - b'0');
                    }
                    number.count += 1;
                    (number.length, separators) = (at + 1, 0);
                    // Longer than anything we look for; the rest is looked at from its own groups on.
                    if number.count > 20 {
                        return Some(number);
                    }
                }
                '+' if at == 0 => {}
                ' ' | '-' | '.' | '(' | ')' | '/' if separators < 2 => separators += 1,
                _ => break,
            }
        }
        number.goes_on = text[number.length..].chars().next().is_some_and(char::is_alphanumeric);
        if !number.goes_on {
            number.ends.push((number.length, number.count));
        }
        (number.count > 0).then_some(number)
    }

    /// The length of the card number that it begins with.
    fn card(&self) -> Option<usize> {
        let fits = |(_, count): &&(usize, usize)| (13..=19).contains(count) && luhn(&self.digits[..*count]);
        self.ends.iter().rev().find(fits).map(|(end, _)| *end)
    }
}

/// The check digit of ISO/IEC 7812.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, d)| {
            let d = u32::from(*d) * if n % 2 == 1 { 2 } else { 1 };
            if d > 9 { d - 9 } else { d }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|d| *d != 0)
}

#[async_trait]
impl Check for Pii {
    fn name(&self) -> &'static str {
        "pii"
    }

    fn window(&self) -> Option<usize> {
        // An address of 320 characters of up to 4 bytes, and one character on each side.
        Some(2 * EMAIL_LIMIT * 4 + 8)
    }

    async fn check(&self, text: &str, _context: &Context) -> Result<Verdict> {
        let (redacted, found) = self.redact(text);
        Ok(match (found, self.action) {
            (None, _) => Verdict::Pass,
            (Some(_), Action::Redact) => Verdict::Redact(redacted),
            (Some(kind), Action::Refuse) => {
                Verdict::Refuse(format!("it holds personal data: {}", kind.mark()))
            }
        })
    }
}

/// Refuses texts of more than so many characters.
///
/// ```
/// use katena_layers::{Guard, MaxLength};
/// let guard = Guard::new().with_input(MaxLength::new(20_000));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MaxLength {
    chars: usize,
}

impl MaxLength {
    /// At most so many characters a text.
    pub fn new(chars: usize) -> Self {
        Self { chars }
    }
}

#[async_trait]
impl Check for MaxLength {
    fn name(&self) -> &'static str {
        "max_length"
    }

    fn window(&self) -> Option<usize> {
        None
    }

    async fn check(&self, text: &str, _context: &Context) -> Result<Verdict> {
        // A character has at least one byte: counting stops early where it can.
        let long = text.len() > self.chars && text.chars().nth(self.chars).is_some();
        Ok(if long {
            Verdict::Refuse(format!("it is longer than {} characters", self.chars))
        } else {
            Verdict::Pass
        })
    }
}

/// Finds words and phrases, whole and in any case.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::Context;
/// use katena_layers::{Action, Check, DenyWords, Verdict};
/// let check = DenyWords::new(["project falcon"]).with_action(Action::Redact);
/// let verdict = check.check("Ask about Project Falcon.", &Context::new()).await.unwrap();
/// assert_eq!(verdict, Verdict::Redact("Ask about [removed].".into()));
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct DenyWords {
    words: Vec<String>,
    action: Action,
}

impl fmt::Debug for DenyWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenyWords").field("words", &self.words.len()).field("action", &self.action).finish()
    }
}

impl DenyWords {
    /// Refuses texts with these words or phrases.
    pub fn new<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Self {
        let words = words.into_iter().map(|w| w.as_ref().trim().to_lowercase()).filter(|w| !w.is_empty());
        Self { words: words.collect(), action: Action::Refuse }
    }

    /// Sets what is done; redacted words become `[removed]`.
    pub fn with_action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// The length in `text` of a denied word that begins there, after this character. A word that begins or ends with a
    /// letter must not go on beyond it.
    fn find(&self, before: Option<char>, text: &str) -> Option<usize> {
        let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let whole = |word: &&String| {
            let length = starts_with(text, word)?;
            let begins = !(letter(before) && letter(word.chars().next()));
            let ends = !(letter(text[length..].chars().next()) && letter(word.chars().next_back()));
            (begins && ends).then_some(length)
        };
        self.words.iter().filter_map(|word| whole(&word)).max()
    }
}

/// How much of `text` is `word` (in small letters), if it begins with it.
fn starts_with(text: &str, word: &str) -> Option<usize> {
    let mut wanted = word.chars();
    let mut rest = text.char_indices();
    let mut pending = wanted.next()?;
    loop {
        let (at, c) = rest.next()?;
        for lower in c.to_lowercase() {
            if lower != pending {
                return None;
            }
            match wanted.next() {
                Some(next) => pending = next,
                None => return Some(at + c.len_utf8()),
            }
        }
    }
}

#[async_trait]
impl Check for DenyWords {
    fn name(&self) -> &'static str {
        "deny_words"
    }

    fn window(&self) -> Option<usize> {
        // Capitals may have more bytes than small letters; a character on each side tells whether the word is whole.
        Some(self.words.iter().map(String::len).max().unwrap_or(0) * 3 + 8)
    }

    async fn check(&self, text: &str, _context: &Context) -> Result<Verdict> {
        let mut out = String::new();
        let (mut at, mut copied) = (0, 0);
        let mut before = None;
        while let Some(c) = text[at..].chars().next() {
            match self.find(before, &text[at..]) {
                Some(_) if self.action == Action::Refuse => {
                    return Ok(Verdict::Refuse("it has a word that is not allowed".to_owned()));
                }
                Some(length) => {
                    out.push_str(&text[copied..at]);
                    out.push_str("[removed]");
                    at += length;
                    copied = at;
                    before = None;
                }
                None => {
                    at += c.len_utf8();
                    before = Some(c);
                }
            }
        }
        if copied == 0 {
            return Ok(Verdict::Pass);
        }
        out.push_str(&text[copied..]);
        Ok(Verdict::Redact(out))
    }
}
