// fastify + ioredis: one EVALSHA a request. Environment: PORT, STORE_SOCKET, STORE_PASSWORD.
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import Redis from 'ioredis'

const { PORT, STORE_SOCKET, STORE_PASSWORD } = process.env
const KEYS = ['{bench}:sale', '{bench}:stock', '{bench}:buyers', '{bench}:tokens', '{bench}:intents']

const redis = new Redis({ path: STORE_SOCKET, password: STORE_PASSWORD })
const script = readFileSync(new URL('../reserve_one.lua', import.meta.url))
const sha = await redis.script('LOAD', script)
const app = Fastify({ logger: false })

app.post('/orders', async (request, reply) => {
  const { sku, quantity } = request.body
  const [code, detail] = await redis.evalsha(
    sha, KEYS.length, ...KEYS,
    request.headers['idempotency-key'], request.headers['x-buyer'], sku, quantity)
  if (code > 2) return reply.code(409).send({ code: 'refused', reason: code })
  return reply.code(202).send({ order_id: detail, sku, quantity, status: 'accepted' })
})

await app.listen({ port: Number(PORT), host: '127.0.0.1', backlog: 4096 })
