-- Why it could not be taken up this time either. $1 its id, $2 the error.
UPDATE dead_letters
SET error = $2
WHERE dead_letter_id = $1
  AND status = 'held'
