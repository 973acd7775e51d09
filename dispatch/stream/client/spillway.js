// A client of Spillway's event stream: an ES module without dependencies, for
// browsers and for Node 22 and later. README.md beside it shows its use.
//
//   dial ──▶ token ──▶ repeats dropped ──▶ queue ──▶ onEvent, one at a time
//     ▲                                                │ lastId
//     └── wait ◀── queue empty ◀── connection lost ◀───┘
//
// After a lost connection it resumes behind the last event that was handled, once
// all it holds is: no event is missed, and one that comes again is dropped by its uid.

const CODE_RESTART = 1012
const CODE_TOKEN = 4001
const CODE_SINCE = 4009
/** The reason of a 4001 that says nothing about the token: the network was too slow. */
const TOKEN_LATE = 'no token came in time'

const defaults = {
  silence: 75_000, // ms without a message, after which a connection is given up; one comes every 30 s
  dialTimeout: 10_000, // ms for a token, and for a connection
  minRetry: 200, // ms before the first retry; doubles up to
  maxRetry: 15_000,
  restartSpread: 1_000, // ms over which the clients of a server that restarts come back
  maxQueue: 4_096, // messages that wait for onEvent; beyond it the connection is closed
  maxQueueChars: 16 * 1024 * 1024, // the same in characters of JSON, except for a single message
  remember: 65_536, // uids, to tell what comes again: more than a server sends in a second
}

/** Why a connection or a subscription ended; code and reason are those of the WebSocket, if it was closed by them. */
export class StreamError extends Error {
  constructor(message, { code = 0, reason = '', cause } = {}) {
    super(message, { cause })
    this.name = 'StreamError'
    this.code = code
    this.reason = reason
  }
}

/**
 * Follows the stream until close() is called, a callback fails, or a token that is a string is refused.
 *
 * @param {object} options beside those of `defaults`:
 * @param {string} options.url ws, wss, http or https, or relative to the page; without a path it is /ws
 * @param {string | ((signal: AbortSignal) => string | Promise<string>)} options.token a function is called
 *   for the first connection, and again when its token was refused or has expired
 * @param {(event: {id: string, uid: string, type: string, payload: object}) => any} options.onEvent
 *   gets every event once, in order; a promise is awaited before the next one
 * @param {string} [options.since] resume after this id; '0': the oldest kept; absent: what comes from now on
 * @param {string[]} [options.events] types, or prefixes such as 'webhook:*'
 * @param {string | string[]} [options.phoneNumberId]
 * @param {(id: string) => any} [options.onPosition] all up to this id is handled: keep it, and give it as since
 * @param {(state: {state: 'connecting' | 'open' | 'waiting' | 'closed', error?: Error, retryIn?: number}) => void} [options.onState]
 * @param {(oldest: string, since: string) => any} [options.onGap] what came after since is not kept any more;
 *   once this has returned, or its promise is fulfilled, the oldest that is kept comes next
 * @param {(message: string) => any} [options.onError] what the server did not understand
 */
export function subscribe(options) {
  return new Subscription({ ...defaults, ...options })
}

class Subscription {
  #options
  #url
  #token
  #lastId
  #error
  #abort = new AbortController()
  /** Messages not yet handled, the characters of their JSON, and whether one is being handled. */
  #queue = []
  #chars = 0
  #busy = false
  #seen = new Set()
  /** Ends what the subscription waits for: a drained queue, and a connection or a pause. */
  #drained = () => {}
  #interrupt = () => {}

  constructor(options) {
    if (typeof options.onEvent !== 'function') throw new TypeError('onEvent is not a function')
    if (!['string', 'function'].includes(typeof options.token)) throw new TypeError('token is not a string or a function')
    this.#options = options
    this.#url = address(options.url)
    this.#lastId = options.since
    if (typeof options.token === 'string') this.#token = options.token
    const { signal } = this.#abort
    globalThis.addEventListener?.('online', () => this.#interrupt('online'), { signal })
    globalThis.document?.addEventListener('visibilitychange', () => document.hidden || this.#interrupt('visible'), { signal })
    /** Fulfilled once it has ended and no callback runs any more: with the error, or undefined after close(). */
    this.closed = this.#run()
  }

  /** The id to resume after: all before it, and it, is handled. */
  get lastId() {
    return this.#lastId
  }

  /** Ends it. An onEvent that is under way is the last one. */
  close() {
    this.#end()
  }

  #end(error) {
    if (this.#abort.signal.aborted) return
    this.#error = error
    this.#abort.abort()
    this.#queue.length = this.#chars = 0
    this.#interrupt('closed')
  }

  async #run() {
    await null // so that no callback comes before subscribe returns
    try {
      await this.#follow()
    } catch (error) {
      this.#end(error)
    }
    await this.#idle()
    this.#report({ state: 'closed', error: this.#error })
    return this.#error
  }

  async #follow() {
    const { signal } = this.#abort
    for (let failures = 0; !signal.aborted; failures++) {
      const lost = await this.#connect()
      await this.#idle()
      if (signal.aborted) return
      if (lost.heard) failures = 0
      await this.#learn(lost.error)
      if (signal.aborted) return
      const retryIn = this.#pause(lost, failures)
      this.#report({ state: 'waiting', error: lost.error, retryIn })
      await this.#sleep(retryIn)
    }
  }

  /** Waits until all that came is handled. */
  async #idle() {
    while (this.#busy) await new Promise((resolve) => (this.#drained = resolve))
  }

  /** Draws the conclusions from the end of a connection. */
  async #learn(error) {
    if (error.code === CODE_TOKEN && error.reason !== TOKEN_LATE) {
      if (typeof this.#options.token === 'string') throw error
      this.#token = undefined
    }
    if (error.code === CODE_SINCE) {
      const since = this.#lastId
      // Not the oldest id: it may be gone in its turn by the time it is asked for.
      this.#lastId = '0'
      await this.#options.onGap?.(error.reason, since)
    }
  }

  /** How long to wait, in ms: with jitter, so that many do not come back in one moment. */
  #pause({ full, error }, failures) {
    const { minRetry, maxRetry, restartSpread } = this.#options
    if (full) return 0
    if (error.code === CODE_RESTART && failures === 0) return Math.random() * restartSpread
    return Math.min(minRetry * 2 ** failures, maxRetry) * (1 - Math.random() / 2)
  }

  async #sleep(ms) {
    if (this.#abort.signal.aborted) return
    let timer
    await new Promise((resolve) => {
      timer = setTimeout(resolve, ms)
      this.#interrupt = resolve
    })
    clearTimeout(timer)
    this.#interrupt = () => {}
  }

  /** One connection, from its token to its end; it tells why that came. */
  async #connect() {
    this.#report({ state: 'connecting' })
    try {
      this.#token ??= await this.#fetchToken()
    } catch (cause) {
      return { error: new StreamError(`no token: ${cause?.message ?? cause}`, { cause }) }
    }
    if (this.#abort.signal.aborted) return {}
    return new Promise((resolve) => this.#read(this.#token, resolve))
  }

  #fetchToken() {
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#options.dialTimeout)])
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      Promise.resolve(signal).then(this.#options.token).then(resolve, reject)
    })
  }

  #read(token, resolve) {
    const { silence, dialTimeout } = this.#options
    const socket = new WebSocket(this.#target())
    let heard = false
    let last = Date.now() // a clock that goes on while the machine sleeps
    let timer
    const lose = (error, full = false) => {
      clearTimeout(timer)
      socket.onopen = socket.onmessage = socket.onclose = null
      this.#interrupt = () => {}
      socket.close()
      resolve({ error, heard, full })
    }
    const watch = () => {
      clearTimeout(timer)
      const left = last + (socket.readyState === WebSocket.OPEN ? silence : dialTimeout) - Date.now()
      if (left > 0) timer = setTimeout(watch, left)
      else lose(new StreamError('connection silent'))
    }
    this.#interrupt = (why) => (why === 'visible' ? watch() : lose(new StreamError(`connection left: ${why}`)))
    socket.onopen = () => {
      last = Date.now()
      watch()
      // In the first message, for an address ends up in logs.
      socket.send(JSON.stringify({ type: 'auth', payload: { token } }))
    }
    socket.onmessage = ({ data }) => {
      last = Date.now()
      const message = parse(data)
      if (!message) return lose(new StreamError('message is not JSON'))
      if (!heard && message.id !== undefined) {
        heard = true
        this.#report({ state: 'open' })
      }
      if (this.#abort.signal.aborted) return
      if (!this.#take(message, data.length)) lose(new StreamError('queue full'), true)
    }
    socket.onclose = ({ code, reason }) =>
      lose(new StreamError(`connection closed: ${code}${reason && ` ${reason}`}`, { code, reason }))
    watch()
  }

  #target() {
    const { events, phoneNumberId } = this.#options
    const url = new URL(this.#url)
    for (const [name, value] of Object.entries({ since: this.#lastId, events, phone_number_id: phoneNumberId })) {
      if (value?.length) url.searchParams.set(name, value) // a list is joined with commas
    }
    return url
  }

  /** Puts a message into the queue, unless that is full. */
  #take(message, chars) {
    const { maxQueue, maxQueueChars } = this.#options
    if (this.#queue.length >= maxQueue || (this.#queue.length && this.#chars + chars > maxQueueChars)) return false
    const repeat = this.#seen.has(message.uid)
    if (message.uid && !repeat) {
      this.#seen.add(message.uid)
      if (this.#seen.size > this.#options.remember) this.#seen.delete(this.#seen.values().next().value)
    }
    this.#queue.push({ message, repeat, chars })
    this.#chars += chars
    if (!this.#busy) this.#work()
    return true
  }

  async #work() {
    this.#busy = true
    try {
      while (this.#queue.length) {
        const { message, repeat, chars } = this.#queue.shift()
        this.#chars -= chars
        await this.#handle(message, repeat)
      }
    } catch (error) {
      this.#end(error)
    }
    this.#busy = false
    this.#drained()
  }

  async #handle(message, repeat) {
    const { onEvent, onPosition, onError } = this.#options
    if (message.id === undefined) {
      if (message.type === 'error') await onError?.(message.payload?.message)
      return
    }
    if (message.type !== 'stream:position' && !repeat) await onEvent(message)
    this.#lastId = message.id
    await onPosition?.(message.id)
  }

  #report(state) {
    try {
      this.#options.onState?.(state)
    } catch (error) {
      this.#end(error)
    }
  }
}

function address(text) {
  const url = new URL(text, globalThis.location?.href)
  url.protocol = url.protocol.replace(/^http/, 'ws')
  if (!/^wss?:$/.test(url.protocol)) throw new TypeError(`stream URL ${text} is not ws, wss, http or https`)
  if (url.pathname === '/') url.pathname = '/ws'
  return url
}

function parse(data) {
  try {
    return JSON.parse(data)
  } catch {
    return undefined
  }
}
