//! Calculations: a grammar of their own, and the chain that lets a model write them.

mod chain;
mod functions;
mod grammar;
mod number;

pub use chain::{MathAnswer, MathChain};
pub use grammar::evaluate;
pub use number::Number;

#[cfg(test)]
#[path = "math_tests.rs"]
mod tests;
