-- The front has given the units of a discarded entry back. $1 its id.
UPDATE dead_letters
SET released_at = now()
WHERE dead_letter_id = $1
  AND status = 'discarded'
  AND released_at IS NULL
