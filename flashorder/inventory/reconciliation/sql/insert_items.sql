-- Every item of a run at once, a column an array.
INSERT INTO reconciliation_items
    (reconciliation_id, sale_id, sku, generation, verdict, available, sold, applied, unreleased,
     in_stream, dead_letters, allotted, drift)
SELECT $1, * FROM unnest(
    $2::uuid[], $3::text[], $4::integer[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
