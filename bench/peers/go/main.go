// net/http + redigo: one EVALSHA a request. Environment: PORT, STORE_SOCKET, STORE_PASSWORD, SCRIPT.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/gomodule/redigo/redis"
)

type purchase struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

type answer struct {
	OrderID  string `json:"order_id"`
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	Status   string `json:"status"`
}

const connectionsMax = 128

func main() {
	source, err := os.ReadFile(os.Getenv("SCRIPT"))
	if err != nil {
		log.Fatal(err)
	}
	script := redis.NewScript(5, string(source))
	pool := &redis.Pool{
		MaxIdle:   connectionsMax,
		MaxActive: connectionsMax,
		Wait:      true,
		Dial: func() (redis.Conn, error) {
			return redis.Dial("unix", os.Getenv("STORE_SOCKET"),
				redis.DialPassword(os.Getenv("STORE_PASSWORD")))
		},
	}
	http.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		var wanted purchase
		if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		connection := pool.Get()
		reply, err := redis.Values(script.Do(connection,
			"{bench}:sale", "{bench}:stock", "{bench}:buyers", "{bench}:tokens", "{bench}:intents",
			r.Header.Get("Idempotency-Key"), r.Header.Get("X-Buyer"), wanted.SKU, wanted.Quantity))
		connection.Close()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if code, _ := redis.Int(reply[0], nil); code > 2 {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]int{"reason": code})
			return
		}
		orderID, _ := redis.String(reply[1], nil)
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(answer{orderID, wanted.SKU, wanted.Quantity, "accepted"})
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
