//! Values: functions, types, operators.

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, ObjectNamePart,
};

use super::super::functions;
use super::{Flow, Walk, shown, stop};

impl Walk<'_> {
    pub(super) fn function(&mut self, function: &Function) -> Flow {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group: _,
            filter: _,
            null_treatment: _,
            over: _,
        } = function;
        let [ObjectNamePart::Identifier(ident)] = &name.0[..] else {
            return stop("functions are called by their plain name");
        };
        let known = self.folded(ident);
        if !functions::is_harmless(self.guard.dialect, &known) && !self.guard.functions.contains(&known) {
            return stop(format!("the function {} may not be called", shown(&ident.value)));
        }
        if *uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) {
            return stop("this form of call may not be used");
        }
        match args {
            FunctionArguments::None => Flow::Continue(()),
            FunctionArguments::Subquery(_) => stop("this form of call may not be used"),
            FunctionArguments::List(list) => {
                for clause in &list.clauses {
                    if !matches!(
                        clause,
                        FunctionArgumentClause::OrderBy(_) | FunctionArgumentClause::JsonNullClause(_)
                    ) {
                        return stop("this form of call may not be used");
                    }
                }
                self.arguments(&list.args, known == "count")
            }
        }
    }

    pub(super) fn arguments(&self, arguments: &[FunctionArg], counts: bool) -> Flow {
        for argument in arguments {
            let (FunctionArg::Named { arg, .. }
            | FunctionArg::ExprNamed { arg, .. }
            | FunctionArg::Unnamed(arg)) = argument;
            match arg {
                FunctionArgExpr::Expr(_) => {}
                FunctionArgExpr::Wildcard if counts => {}
                FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_) => self.star(None)?,
                FunctionArgExpr::WildcardWithOptions(_) => return stop("this form of * may not be used"),
            }
        }
        Flow::Continue(())
    }

    pub(super) fn cast(&self, to: &DataType) -> Flow {
        match to {
            DataType::Custom(name, arguments) => {
                let known = match &name.0[..] {
                    [ObjectNamePart::Identifier(ident)] => self.folded(ident),
                    _ => return stop("types are named by their plain name"),
                };
                let harmless = functions::is_harmless_type(self.guard.dialect, &known);
                if (harmless || self.guard.types.contains(&known)) && arguments.is_empty() {
                    Flow::Continue(())
                } else {
                    stop(format!("the type {} may not be used", shown(&known)))
                }
            }
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => self.cast(element),
            DataType::Character(_)
            | DataType::Char(_)
            | DataType::CharacterVarying(_)
            | DataType::CharVarying(_)
            | DataType::Varchar(_)
            | DataType::Uuid
            | DataType::Blob(_)
            | DataType::Numeric(_)
            | DataType::Decimal(_)
            | DataType::Dec(_)
            | DataType::Float(_)
            | DataType::TinyInt(_)
            | DataType::SmallInt(_)
            | DataType::Int(_)
            | DataType::Int2(_)
            | DataType::Int4(_)
            | DataType::Int8(_)
            | DataType::Integer(_)
            | DataType::BigInt(_)
            | DataType::Float4
            | DataType::Float8
            | DataType::Real
            | DataType::Double(_)
            | DataType::DoublePrecision
            | DataType::Bool
            | DataType::Boolean
            | DataType::Date
            | DataType::Time(..)
            | DataType::Datetime(_)
            | DataType::Timestamp(..)
            | DataType::Interval { .. }
            | DataType::JSON
            | DataType::JSONB
            | DataType::Text
            | DataType::Bytea => Flow::Continue(()),
            _ => stop("this type may not be used"),
        }
    }
}

pub(super) fn operator(op: &BinaryOperator) -> Flow {
    match op {
        BinaryOperator::Custom(_)
        | BinaryOperator::PGCustomBinaryOperator(_)
        | BinaryOperator::Assignment => stop("this operator may not be used"),
        _ => Flow::Continue(()),
    }
}
