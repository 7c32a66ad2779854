-- One order a token is kept by the number alone: it is made of the id's last eight bytes, which lie
-- in the token (docs/adr/0003), so what has the token again has the number again. A second index
-- with keys at random would only be one more page to read and write for each order.

DROP INDEX orders_one_per_token;
