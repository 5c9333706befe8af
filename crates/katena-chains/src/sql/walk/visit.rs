//! What is looked at, in the order of the statement.

use katena_core::Error;
use sqlparser::ast::{
    AccessExpr, CastKind, CeilFloorKind, Distinct, Expr, GroupByExpr, Ident, ObjectName, OrderByExpr,
    OrderByKind, OrderBySort, Query, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, Statement, TableFactor, UnaryOperator, Value, ValueWithSpan, VisitorMut,
};

use super::values::operator;
use super::{Flow, Scope, Walk, address, stop};

fn body(set: &SetExpr) -> Flow {
    match set {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => Flow::Continue(()),
        SetExpr::SetOperation { left, right, .. } => {
            body(left)?;
            body(right)
        }
        SetExpr::Table(_) => stop("write SELECT, not TABLE"),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            stop("only a SELECT statement may be run")
        }
    }
}

impl VisitorMut for Walk<'_> {
    type Break = Error;

    fn pre_visit_statement(&mut self, _: &mut Statement) -> Flow {
        stop("only a SELECT statement may be run")
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        let here = address(query);
        if let Some(scope) = self.scopes.last_mut()
            && let Some(n) = scope.ctes.iter().position(|(at, _)| *at == here)
        {
            // Within a CTE: those before it, and with RECURSIVE itself.
            scope.visible = n + usize::from(scope.recursive);
        }
        let Query {
            with,
            body: set,
            order_by,
            limit_clause: _,
            fetch: _,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = &*query;
        if !locks.is_empty() {
            return stop("rows may not be locked");
        }
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty()
        {
            return stop("this clause may not be used");
        }
        if order_by.as_ref().is_some_and(|o| o.interpolate.is_some() || matches!(o.kind, OrderByKind::All(_)))
        {
            return stop("this form of ORDER BY may not be used");
        }
        body(set)?;
        let (mut ctes, mut recursive) = (Vec::new(), false);
        if let Some(with) = with {
            recursive = with.recursive;
            for cte in &with.cte_tables {
                if cte.from.is_some() || cte.alias.at.is_some() {
                    return stop("this form of WITH may not be used");
                }
                for column in &cte.alias.columns {
                    let name = self.folded(&column.name);
                    self.named.insert(name);
                }
                ctes.push((address(&cte.query), self.folded(&cte.alias.name)));
            }
        }
        // The body comes after all CTEs; without any there is nothing to see.
        self.scopes.push(Scope { ctes, recursive, visible: 0 });
        Flow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> Flow {
        self.scopes.pop();
        let here = address(query);
        if let Some(scope) = self.scopes.last_mut()
            && let Some(n) = scope.ctes.iter().position(|(at, _)| *at == here)
        {
            scope.visible = n + 1;
        }
        Flow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        // Hints would come out as a comment.
        optimizer_hints.clear();
        if into.is_some() {
            return stop("SELECT INTO writes a table");
        }
        let usual = select_modifiers.is_none()
            && top.is_none()
            && exclude.is_none()
            && lateral_views.is_empty()
            && prewhere.is_none()
            && connect_by.is_empty()
            && cluster_by.is_empty()
            && distribute_by.is_empty()
            && sort_by.is_empty()
            && qualify.is_none()
            && value_table_mode.is_none()
            && matches!(flavor, SelectFlavor::Standard)
            && matches!(distinct, None | Some(Distinct::All | Distinct::Distinct | Distinct::On(_)))
            && matches!(&*group_by, GroupByExpr::Expressions(_, modifiers) if modifiers.is_empty());
        if !usual {
            return stop("this clause of SELECT may not be used");
        }
        for table in &*from {
            self.from(table)?;
        }
        for item in &*projection {
            match item {
                SelectItem::UnnamedExpr(_) => {}
                SelectItem::ExprWithAlias { alias, .. } => {
                    let name = self.folded(alias);
                    self.named.insert(name);
                }
                SelectItem::ExprWithAliases { .. } => return stop("this form of alias may not be used"),
                SelectItem::Wildcard(options)
                | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(_), options) => {
                    self.star(Some(options))?;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    return stop("this form of * may not be used");
                }
            }
        }
        Flow::Continue(())
    }

    fn pre_visit_relation(&mut self, _: &mut ObjectName) -> Flow {
        // Every name of a table was judged with its place; one in another place was not.
        match self.judged.checked_sub(1) {
            Some(left) => {
                self.judged = left;
                Flow::Continue(())
            }
            None => stop("a table stands where none may be"),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality: _,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                let plain = with_hints.is_empty()
                    && version.is_none()
                    && partitions.is_empty()
                    && json_path.is_none()
                    && sample.is_none()
                    && index_hints.is_empty();
                if !plain {
                    return stop("this form of table may not be used");
                }
                let Some(args) = args else {
                    self.alias(alias.as_ref(), true)?;
                    return self.table(name, alias.as_ref());
                };
                if args.settings.is_some() {
                    return stop("this form of call may not be used");
                }
                self.arguments(&args.args, false)?;
                let name = name.clone();
                let alias = alias.clone();
                self.judged += 1;
                self.set(&name, alias.as_ref())
            }
            TableFactor::Function { name, args, alias, .. } => {
                self.arguments(args, false)?;
                let (name, alias) = (name.clone(), alias.clone());
                self.set(&name, alias.as_ref())
            }
            TableFactor::UNNEST { alias, with_offset: false, with_offset_alias: None, .. } => {
                let (name, alias) = (ObjectName::from(vec![Ident::new("unnest")]), alias.clone());
                self.set(&name, alias.as_ref())
            }
            TableFactor::Derived { alias, sample: None, .. } => {
                let alias = alias.clone();
                self.alias(alias.as_ref(), false)?;
                // Its row holds what its query names, no more; it is a row all the same.
                if let Some(alias) = &alias {
                    let name = self.folded(&alias.name);
                    self.rows.insert(name);
                }
                Flow::Continue(())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                if alias.is_some() {
                    return stop("a join in parentheses takes no alias");
                }
                self.from(table_with_joins)
            }
            _ => stop("this form of table may not be used"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        match expr {
            Expr::Identifier(ident) => {
                let name = self.folded(ident);
                self.used.push((None, name));
                Flow::Continue(())
            }
            Expr::CompoundIdentifier(parts) => {
                let [qualifiers @ .., last] = &parts[..] else { return stop("this name may not be used") };
                if qualifiers.len() > 2 {
                    return stop("a column is named by its schema, table and name at most");
                }
                let qualifier = qualifiers.last().map(|q| self.folded(q));
                let name = self.folded(last);
                self.used.push((qualifier, name));
                Flow::Continue(())
            }
            Expr::CompoundFieldAccess { access_chain, .. } => {
                if access_chain.iter().all(|a| matches!(a, AccessExpr::Subscript(_))) {
                    Flow::Continue(())
                } else {
                    stop("fields of rows may not be used")
                }
            }
            Expr::BinaryOp { op, .. }
            | Expr::AnyOp { compare_op: op, .. }
            | Expr::AllOp { compare_op: op, .. } => operator(op),
            Expr::UnaryOp {
                op:
                    UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not | UnaryOperator::BitwiseNot,
                ..
            } => Flow::Continue(()),
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, format: None, .. } => {
                self.cast(data_type)
            }
            Expr::TypedString(typed) if !typed.uses_odbc_syntax => self.cast(&typed.data_type),
            Expr::Function(function) => {
                let function = &*function;
                self.function(function)
            }
            Expr::Ceil { field, .. } | Expr::Floor { field, .. } => match field {
                CeilFloorKind::DateTimeField(_) => Flow::Continue(()),
                CeilFloorKind::Scale(_) => stop("this form of call may not be used"),
            },
            Expr::Collate { collation, .. } if collation.0.len() == 1 => Flow::Continue(()),
            Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_) => Flow::Continue(()),
            _ => stop("this form of expression may not be used"),
        }
    }

    fn pre_visit_order_by_expr(&mut self, order: &mut OrderByExpr) -> Flow {
        if order.with_fill.is_some() || matches!(order.options.sort, Some(OrderBySort::Using(_))) {
            return stop("this form of ORDER BY may not be used");
        }
        Flow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> Flow {
        match &mut value.value {
            Value::Number(_, false)
            | Value::SingleQuotedString(_)
            | Value::HexStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null => Flow::Continue(()),
            // All texts in the one form that needs no other rules.
            Value::EscapedStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::NationalStringLiteral(text) => {
                let text = std::mem::take(text);
                if text.contains('\0') {
                    return stop("texts hold no NUL");
                }
                value.value = Value::SingleQuotedString(text);
                Flow::Continue(())
            }
            Value::DollarQuotedString(text) => {
                value.value = Value::SingleQuotedString(std::mem::take(&mut text.value));
                Flow::Continue(())
            }
            Value::Placeholder(_) => stop("parameters may not be used; write the values"),
            _ => stop("this form of literal may not be used"),
        }
    }
}
