//! The walk through a parsed statement: everything that is not known to be harmless ends it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use katena_core::{Error, Result};
use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CastKind, CeilFloorKind, DataType, Distinct, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, JoinConstraint,
    JoinOperator, ObjectName, ObjectNamePart, OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins, UnaryOperator, Value, ValueWithSpan,
    VisitorMut, WildcardAdditionalOptions,
};

use super::functions;
use super::guard::{SqlDialect, SqlGuard, TableName, refused};

type Flow = ControlFlow<Error>;

/// A query around the place where the walk is, and the CTE names that surely mean its CTEs there.
struct Scope {
    /// For each CTE where its query lies in memory, and its name.
    ctes: Vec<(usize, String)>,
    recursive: bool,
    /// How many of them are visible.
    visible: usize,
}

pub(super) struct Walk<'g> {
    guard: &'g SqlGuard,
    scopes: Vec<Scope>,
    tables: BTreeSet<TableName>,
    /// Tables that were judged and whose name comes next.
    judged: usize,
    /// Names that stand for a whole row: tables' names and aliases.
    rows: BTreeSet<String>,
    /// Those of them that are the database's own tables.
    bases: BTreeSet<String>,
    /// Names that the statement itself gives to values.
    named: BTreeSet<String>,
    /// Functions in FROM: their alias, and the columns named there.
    sets: Vec<(String, BTreeSet<String>)>,
    /// Names used for values: the qualifier and the name itself.
    used: Vec<(Option<String>, String)>,
}

fn stop(why: impl Into<std::borrow::Cow<'static, str>>) -> Flow {
    ControlFlow::Break(refused(why))
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query) as usize
}

/// Short enough for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

impl<'g> Walk<'g> {
    pub(super) fn new(guard: &'g SqlGuard) -> Self {
        Self {
            guard,
            scopes: Vec::new(),
            tables: BTreeSet::new(),
            judged: 0,
            rows: BTreeSet::new(),
            bases: BTreeSet::new(),
            named: BTreeSet::new(),
            sets: Vec::new(),
            used: Vec::new(),
        }
    }

    fn folded(&self, ident: &Ident) -> String {
        self.guard.dialect.folded(&ident.value, ident.quote_style.is_some())
    }

    /// The tables, once everything was seen: aliases may stand behind the columns that use them.
    pub(super) fn finish(self) -> Result<BTreeSet<TableName>> {
        if self.judged != 0 {
            return Err(refused("a table stands where none may be"));
        }
        let guard = self.guard;
        for (qualifier, name) in &self.used {
            let lower = name.to_lowercase();
            if guard.hidden.contains(&lower) {
                return Err(refused(format!("the column {} may not be read", shown(name))));
            }
            let set = qualifier.as_ref().and_then(|q| self.sets.iter().find(|(alias, _)| alias == q));
            if let Some((alias, columns)) = set
                && name != alias
                && !columns.contains(name)
            {
                return Err(refused(format!(
                    "name the columns of {} where it stands in FROM, as in f(x) AS t(a)",
                    shown(alias)
                )));
            }
            let own = self.named.contains(name) || self.sets.iter().any(|(alias, _)| alias == name);
            let whole_row = qualifier.is_none() && self.rows.contains(name);
            if !guard.hidden.is_empty() {
                if whole_row {
                    return Err(refused(format!("name the columns of {}, not the whole row", shown(name))));
                }
                // In PostgreSQL `t.f` may be `f(t)`, so that what stands behind a table must be a column.
                let of_base = qualifier.as_ref().is_some_and(|q| self.bases.contains(q));
                let column = match &guard.columns {
                    Some(columns) => columns.contains(&lower),
                    None => !functions::takes_rows(&lower),
                };
                if guard.dialect == SqlDialect::Postgres && of_base && !column {
                    return Err(refused(format!("there is no column {}", shown(name))));
                }
            }
            if let Some(columns) = &guard.columns
                && !columns.contains(&lower)
                && !own
                && !whole_row
            {
                return Err(refused(format!("there is no column {}", shown(name))));
            }
        }
        Ok(self.tables)
    }

    fn is_cte(&self, name: &str) -> bool {
        self.scopes.iter().any(|s| s.ctes[..s.visible].iter().any(|(_, cte)| cte == name))
    }

    fn alias(&mut self, alias: Option<&TableAlias>, of_rows: bool) -> Flow {
        let Some(alias) = alias else { return Flow::Continue(()) };
        if alias.at.is_some() || alias.columns.iter().any(|c| c.data_type.is_some()) {
            return stop("this form of alias may not be used");
        }
        for column in &alias.columns {
            let name = self.folded(&column.name);
            self.named.insert(name);
        }
        if of_rows {
            if !alias.columns.is_empty() && !self.guard.hidden.is_empty() {
                return stop("a table's columns may not be renamed in FROM");
            }
            let name = self.folded(&alias.name);
            self.rows.insert(name);
        }
        Flow::Continue(())
    }

    /// Judges a table's name and writes it with its schema.
    fn table(&mut self, name: &mut ObjectName, alias: Option<&TableAlias>) -> Flow {
        let mut idents = Vec::new();
        for part in &name.0 {
            let ObjectNamePart::Identifier(ident) = part else { return stop("this form of table name may not be used") };
            idents.push(ident);
        }
        let (schema, ident) = match idents[..] {
            [table] => (None, table),
            [schema, table] => (Some(self.folded(schema)), table),
            _ => return stop("a table is named by its schema and name at most"),
        };
        let table = self.folded(ident);
        self.judged += 1;
        self.rows.insert(table.clone());
        if schema.is_none() && self.is_cte(&table) {
            return Flow::Continue(());
        }
        let alias = alias.map_or_else(|| table.clone(), |a| self.folded(&a.name));
        self.bases.insert(alias);
        let dialect = self.guard.dialect;
        let own = dialect.schema();
        let found = TableName { schema: schema.clone().unwrap_or_else(|| own.to_owned()), name: table };
        let allowed = match &self.guard.tables {
            Some(tables) => tables.contains(&found),
            None => {
                let lower = found.name.to_lowercase();
                let system = match dialect {
                    SqlDialect::Sqlite => lower.starts_with("sqlite_") || lower.starts_with("pragma_"),
                    SqlDialect::Postgres => lower.starts_with("pg_"),
                };
                found.schema == own && !system
            }
        };
        if !allowed {
            return stop(format!("the table {} may not be read", shown(&found.name)));
        }
        if schema.is_none() {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new(own)));
        }
        self.tables.insert(found);
        Flow::Continue(())
    }

    fn from(&mut self, table: &TableWithJoins) -> Flow {
        for join in &table.joins {
            let (JoinOperator::Join(on)
            | JoinOperator::Inner(on)
            | JoinOperator::Left(on)
            | JoinOperator::LeftOuter(on)
            | JoinOperator::Right(on)
            | JoinOperator::RightOuter(on)
            | JoinOperator::FullOuter(on)
            | JoinOperator::CrossJoin(on)) = &join.join_operator
            else {
                return stop("this kind of join may not be used");
            };
            match on {
                JoinConstraint::On(_) | JoinConstraint::None if !join.global => {}
                JoinConstraint::Using(columns) if !join.global => {
                    for column in columns {
                        let [ObjectNamePart::Identifier(ident)] = &column.0[..] else {
                            return stop("USING takes plain column names");
                        };
                        let name = self.folded(ident);
                        self.used.push((None, name));
                    }
                }
                JoinConstraint::Natural if !join.global && self.guard.hidden.is_empty() => {}
                _ => return stop("join by ON or USING"),
            }
        }
        Flow::Continue(())
    }

    fn star(&self, options: Option<&WildcardAdditionalOptions>) -> Flow {
        if !self.guard.hidden.is_empty() {
            return stop("name the columns; * may not be used");
        }
        match options {
            Some(WildcardAdditionalOptions {
                wildcard_token: _,
                opt_ilike: None,
                opt_exclude: None,
                opt_except: None,
                opt_replace: None,
                opt_rename: None,
                opt_alias: None,
            })
            | None => Flow::Continue(()),
            Some(_) => stop("this form of * may not be used"),
        }
    }

    fn function(&mut self, function: &Function) -> Flow {
        let Function { name, uses_odbc_syntax, parameters, args, within_group: _, filter: _, null_treatment: _, over: _ } =
            function;
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
                    if !matches!(clause, FunctionArgumentClause::OrderBy(_) | FunctionArgumentClause::JsonNullClause(_)) {
                        return stop("this form of call may not be used");
                    }
                }
                self.arguments(&list.args, known == "count")
            }
        }
    }

    fn arguments(&self, arguments: &[FunctionArg], counts: bool) -> Flow {
        for argument in arguments {
            let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) = argument;
            match arg {
                FunctionArgExpr::Expr(_) => {}
                FunctionArgExpr::Wildcard if counts => {}
                FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_) => self.star(None)?,
                FunctionArgExpr::WildcardWithOptions(_) => return stop("this form of * may not be used"),
            }
        }
        Flow::Continue(())
    }

    fn cast(&self, to: &DataType) -> Flow {
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

fn operator(op: &BinaryOperator) -> Flow {
    match op {
        BinaryOperator::Custom(_) | BinaryOperator::PGCustomBinaryOperator(_) | BinaryOperator::Assignment => {
            stop("this operator may not be used")
        }
        _ => Flow::Continue(()),
    }
}

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
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty() {
            return stop("this clause may not be used");
        }
        if order_by.as_ref().is_some_and(|o| o.interpolate.is_some() || matches!(o.kind, OrderByKind::All(_))) {
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
            Expr::BinaryOp { op, .. } | Expr::AnyOp { compare_op: op, .. } | Expr::AllOp { compare_op: op, .. } => {
                operator(op)
            }
            Expr::UnaryOp {
                op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not | UnaryOperator::BitwiseNot,
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
            Value::EscapedStringLiteral(text) | Value::UnicodeStringLiteral(text) | Value::NationalStringLiteral(text) => {
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

impl Walk<'_> {
    /// A function in FROM.
    fn set(&mut self, name: &ObjectName, alias: Option<&TableAlias>) -> Flow {
        let [ObjectNamePart::Identifier(ident)] = &name.0[..] else {
            return stop("functions are called by their plain name");
        };
        let known = self.folded(ident);
        if !functions::is_harmless_table(self.guard.dialect, &known) && !self.guard.functions.contains(&known) {
            return stop(format!("the function {} may not be called", shown(&ident.value)));
        }
        self.alias(alias, false)?;
        let mut columns: BTreeSet<String> =
            alias.into_iter().flat_map(|a| &a.columns).map(|c| self.folded(&c.name)).collect();
        // The columns that these functions give.
        let given: &[&str] = match self.guard.dialect {
            SqlDialect::Sqlite => &["key", "value", "type", "atom", "id", "parent", "fullkey", "path"],
            SqlDialect::Postgres if known.contains("each") => &["key", "value"],
            SqlDialect::Postgres if known.contains("_elements") => &["value"],
            SqlDialect::Postgres => &[],
        };
        // Only where they are not renamed: else such a name may be a function's.
        if columns.is_empty() {
            columns.extend(given.iter().map(|c| (*c).to_owned()));
        }
        columns.insert("ordinality".to_owned());
        self.named.extend(columns.iter().cloned());
        let alias = alias.map_or(known, |a| self.folded(&a.name));
        self.sets.push((alias, columns));
        Flow::Continue(())
    }
}
