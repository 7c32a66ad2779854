-- How many refunds need a person.
SELECT count(*) FROM refunds_to_decide
