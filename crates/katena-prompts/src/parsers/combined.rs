//! Several parsers over one reply.

use katena_core::Result;

use super::OutputParser;

/// Applies several parsers to the same reply; the outputs come as a tuple. Put each part of the answer where its parser
/// finds it, for example in XML tags with [`XmlTag::and`](crate::XmlTag::and).
///
/// ```
/// use katena_prompts::{BooleanParser, CombinedParser, ListParser, OutputParser, XmlTag};
/// let parser = CombinedParser::new((
///     XmlTag::new("sure").and(BooleanParser::new()),
///     XmlTag::new("names").and(ListParser::commas()),
/// ));
/// let (sure, names) = parser.parse("<sure>yes</sure> <names>Ada, Alan</names>")?;
/// assert!(sure);
/// assert_eq!(names, ["Ada", "Alan"]);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CombinedParser<P>(P);

impl<P> CombinedParser<P>
where
    Self: OutputParser,
{
    /// These parsers, as a tuple of 2 to 6.
    pub fn new(parsers: P) -> Self {
        Self(parsers)
    }
}

macro_rules! combined {
    ($($name:ident $n:tt),+) => {
        impl<$($name: OutputParser),+> OutputParser for CombinedParser<($($name,)+)> {
            type Output = ($($name::Output,)+);

            fn parse(&self, text: &str) -> Result<Self::Output> {
                Ok(($(self.0.$n.parse(text)?,)+))
            }

            fn format_instructions(&self) -> String {
                let all = [$(self.0.$n.format_instructions()),+];
                all.into_iter().filter(|i| !i.is_empty()).collect::<Vec<_>>().join("\n")
            }
        }
    };
}
combined!(A 0, B 1);
combined!(A 0, B 1, C 2);
combined!(A 0, B 1, C 2, D 3);
combined!(A 0, B 1, C 2, D 3, E 4);
combined!(A 0, B 1, C 2, D 3, E 4, F 5);
