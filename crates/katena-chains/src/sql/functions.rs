//! Functions and types that a question may use: they read nothing but their arguments and change nothing.

use super::SqlDialect;

/// Known to both dialects, lower case.
const COMMON: &str = "\
    abs avg ceil ceiling coalesce concat concat_ws count cume_dist current_date current_time \
    current_timestamp dense_rank exp first_value floor lag last_value lead length ln log log10 lower \
    ltrim max min mod nth_value ntile nullif octet_length percent_rank pi pow power radians degrees rank \
    replace round row_number rtrim sign sin cos tan asin acos atan atan2 sqrt string_agg substr \
    substring sum trim trunc upper";

const SQLITE: &str = "\
    char date datetime format group_concat hex ifnull iif instr json json_array json_array_length \
    json_extract json_group_array json_group_object json_object json_type json_valid julianday log2 \
    median percentile printf quote random strftime time timediff total typeof unicode unixepoch";

const POSTGRES: &str = "\
    age array_agg array_length array_position array_to_string ascii bit_and bit_or bool_and bool_or \
    btrim cardinality cbrt char_length character_length chr clock_timestamp corr covar_pop covar_samp \
    date_bin date_part date_trunc div every extract gcd greatest initcap isfinite json_agg \
    json_array_length json_build_array json_build_object json_extract_path json_extract_path_text \
    json_object_agg json_typeof jsonb_agg jsonb_array_length jsonb_build_array jsonb_build_object \
    jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_typeof justify_days justify_hours \
    justify_interval lcm least left localtime localtimestamp make_date make_interval make_time \
    make_timestamp mode now percentile_cont percentile_disc position random regexp_count regexp_like \
    regexp_match regexp_replace regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2 \
    regr_slope reverse right rollup split_part starts_with statement_timestamp stddev stddev_pop \
    stddev_samp string_to_array strpos to_char to_date to_number to_timestamp transaction_timestamp \
    translate var_pop var_samp variance width_bucket";

/// Functions in FROM.
const SQLITE_TABLES: &str = "\
    json_each json_tree";
const POSTGRES_TABLES: &str = "\
    generate_series unnest json_array_elements json_array_elements_text json_each json_each_text \
    jsonb_array_elements jsonb_array_elements_text jsonb_each jsonb_each_text regexp_split_to_table \
    string_to_table";

/// Types that the parser has no word of its own for.
const POSTGRES_TYPES: &str = "\
    inet cidr macaddr money citext timestamptz timetz bpchar int2 int4 int8 float4 float8";

/// Functions that turn a whole row into a value: in PostgreSQL `t.to_json` means `to_json(t)`.
const OF_ROWS: &str = "\
    row_to_json to_json to_jsonb record_out record_send hstore concat concat_ws json_build_array \
    json_build_object jsonb_build_array jsonb_build_object json_agg jsonb_agg array_agg quote_literal \
    quote_nullable text varchar bpchar name xmlforest json_object_agg jsonb_object_agg max min";

/// Whether a list of words has one.
fn has(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|w| w == word)
}

pub(super) fn is_harmless(dialect: SqlDialect, name: &str) -> bool {
    let own = match dialect {
        SqlDialect::Sqlite => SQLITE,
        SqlDialect::Postgres => POSTGRES,
    };
    has(COMMON, name) || has(own, name)
}

pub(super) fn is_harmless_table(dialect: SqlDialect, name: &str) -> bool {
    match dialect {
        SqlDialect::Sqlite => has(SQLITE_TABLES, name),
        SqlDialect::Postgres => has(POSTGRES_TABLES, name),
    }
}

pub(super) fn is_harmless_type(dialect: SqlDialect, name: &str) -> bool {
    dialect == SqlDialect::Postgres && has(POSTGRES_TYPES, name)
}

pub(super) fn takes_rows(name: &str) -> bool {
    has(OF_ROWS, name)
}
