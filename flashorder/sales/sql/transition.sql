-- One step of the sale machine, guarded by the states it may be taken from. Nothing opens or is
-- scheduled once its end has passed.
UPDATE sales
SET status = $2, revision = revision + 1, updated_at = now()
WHERE sale_id = $1
  AND status = ANY ($3::text[])
  AND ($2 NOT IN ('scheduled', 'open') OR ends_at > now())
RETURNING sale_id
