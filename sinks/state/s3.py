"""`Objects` on S3, and on what speaks like it: whole objects, put-if-absent by `If-None-Match: *`, no rename.

A request may be lost before it arrives, or its answer on the way back; then it is sent again. All of ours may be: a
`put` writes the same bytes once more, and a `put_if_absent` carries a mark of its own, by which its second try tells
"somebody was first" from "it was I, and the answer was lost". See docs/decisions/0019-s3-store.md.

Credentials, region and endpoint come from where botocore looks for them (AWS_PROFILE, AWS_ENDPOINT_URL_S3 ...).

>>> str(S3Folder.at("s3://films/store") / "clips" / "1")
's3://films/store/clips/1'
"""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import hashlib
import os
import random
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reelmill.schemas.errors import BadInput, StoreUnusable
from reelmill.schemas.points import reach
from reelmill.sinks.state.objects import store_trouble

SCHEME = "s3://"
PROBE = ".conditional"
"""An object that stays, on which a store shows that it honours `If-None-Match`. Its dot keeps it out of listings."""
_MARK = "reelmill-put"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONNECTIONS = 16
_CONFLICT_PAUSE_S = 0.1
_RIGHTS = "allow s3:GetObject, PutObject, DeleteObject on its objects and s3:ListBucket on the bucket"
_KEYS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_SETTINGS = "look at AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL_S3"
_NO_LEASE = "use a store with conditional writes: without them two runs would write one dataset"
_TODO = {
    "NoSuchBucket": "make the bucket, or name another --store",
    "AccessDenied": _RIGHTS,
    "403": f"{_RIGHTS}; or {_KEYS}",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": "sign in again",
    "PermanentRedirect": "set AWS_REGION to the region of the bucket",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the region of the bucket",
    "EntityTooLarge": "give fewer rows to a group: one object holds 5 GB at most",
    "NotImplemented": _NO_LEASE,
}
_LATER = "see that the store is up and can be reached, then run again"


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach a store and how long to try. `attempts` are per request, with pauses that double, below 20 s each.

    So with the defaults a request to a store that refuses connections is given up after half a minute at most, to one
    that takes them and does not answer after two and a half. Empty `endpoint` and `region` mean botocore's own.
    """

    endpoint: str = ""
    region: str = ""
    attempts: int = 6
    connect_s: float = 5.0
    read_s: float = 20.0


@dataclass(frozen=True, slots=True)
class S3Folder:
    """A place in a bucket, as far as it is like the path of a folder. Plain data: it travels to workers."""

    bucket: str
    prefix: str = ""
    options: S3Options = S3Options()

    @classmethod
    def at(cls, uri: str, options: S3Options = S3Options()) -> S3Folder:
        """The place that `s3://bucket/some/prefix` names. Raises BadInput on what is no such name."""
        bucket, _, prefix = uri.removeprefix(SCHEME).partition("/")
        if not uri.startswith(SCHEME) or not _BUCKET.fullmatch(bucket):
            raise BadInput(f"store {uri!r}", seen=f"bucket {bucket!r}", do="name it s3://bucket/prefix")
        return cls(bucket, _safe(prefix.rstrip("/")) if prefix.rstrip("/") else "", options)

    def __truediv__(self, name: str) -> S3Folder:
        return S3Folder(self.bucket, self.key(name), self.options)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def name(self) -> str:
        return (self.prefix or self.bucket).rpartition("/")[2]

    @property
    def parent(self) -> S3Folder:
        return S3Folder(self.bucket, self.prefix.rpartition("/")[0], self.options)

    def key(self, name: str) -> str:
        """Key in the bucket of the object `name` of this folder. Raises BadInput on a name that is no plain path."""
        return f"{self.prefix}/{_safe(name)}" if self.prefix else _safe(name)


def _safe(name: str) -> str:
    """A name whose parts are plain: clients and tools fold `.`, `..` and empty ones, each in its own way."""
    if not {"", ".", ".."}.isdisjoint(name.split("/")) or not name.isprintable():
        raise BadInput(f"object name {name!r}", seen="an empty part, dots or a control character", do="change it")
    return name


@dataclass(frozen=True, slots=True)
class S3Objects:
    folder: S3Folder

    def put(self, name: str, data: bytes) -> None:
        """Write or replace an object: it appears whole, by one request."""
        self._begin()
        with _told(self.folder, name):
            self._send(name, data)
        self._done()

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write an object unless one of that name is there; True where this call made it. Atomic between machines.

        The first call of a process makes sure that the store honours the condition. Raises StoreUnusable where it does
        not, and where no answer came: then the object may be there, or may yet come.
        """
        _require_conditional(self.folder, os.getpid())
        self._begin()
        made = self._put_new(name, data)
        if made:
            self._done()
        return made

    def get(self, name: str) -> bytes:
        with _told(self.folder, name):
            return self._fetched(name)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only where the object ends."""
        with _told(self.folder, name):
            from botocore.exceptions import ClientError

            if size <= 0:
                self._head(name)
                return b""
            try:
                return self._fetched(name, Range=f"bytes={offset}-{offset + size - 1}")
            except ClientError as error:
                if _code(error) not in ("InvalidRange", "416"):
                    raise
                return b""

    def list(self, folder: str) -> list[str]:
        """Names (not paths) of the objects in a folder, sorted; empty where there are none.

        Names that begin with a dot are not objects of ours, and an empty one is what consoles leave to show a folder.
        """
        return sorted(self._names(folder, "Contents", "Key"))

    def folders(self, folder: str) -> tuple[str, ...]:
        """Names of the folders in a folder, sorted, without those that begin with a dot."""
        return tuple(sorted(n.rstrip("/") for n in self._names(folder, "CommonPrefixes", "Prefix")))

    def delete(self, name: str) -> int:
        """Remove an object. Returns the bytes that it held, 0 where it was not there."""
        try:
            with _told(self.folder, name):
                size = int(self._head(name)["ContentLength"])
                self._client().delete_object(**self._named(name))
        except FileNotFoundError:
            return 0
        with store_trouble(self.folder):
            reach("object.deleted")
        return size

    def leftovers(self) -> tuple[str, ...]:
        """None: an object is one request, never a multipart upload, so nothing half-written is kept by the store."""
        return ()

    # ---- requests ---------------------------------------------------------------------------------------------------

    def _client(self) -> Any:
        return _client(self.folder.options, os.getpid())

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self.folder.bucket, "Key": self.folder.key(name)}

    def _send(self, name: str, data: bytes, **more: Any) -> None:
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        self._client().put_object(**self._named(name), Body=data, ContentMD5=digest, **more)

    def _put_new(self, name: str, data: bytes) -> bool:
        """One put-if-absent, to the end. Where one is there already, its mark tells whether an earlier try of this very
        call wrote it and the answer was lost: botocore repeats such requests by itself."""
        mark = uuid.uuid4().hex
        with _told(self.folder, name):
            for nth in range(self.folder.options.attempts):
                wrote = self._tried(name, data, mark)
                if wrote is not None:
                    return wrote == mark
                time.sleep(random.uniform(0, _CONFLICT_PAUSE_S * 2**nth))
        seen = f"{name} was being written or deleted by others at each of {self.folder.options.attempts} tries"
        raise StoreUnusable(str(self.folder), seen=seen, do=_LATER)

    def _tried(self, name: str, data: bytes, mark: str) -> str | None:
        """Mark of whoever wrote the object, '' where that one left none, None where it is undecided: try again."""
        from botocore.exceptions import ClientError

        try:
            self._send(name, data, IfNoneMatch="*", Metadata={_MARK: mark})
        except ClientError as error:
            if _code(error) in ("ConditionalRequestConflict", "NoSuchKey"):  # one more put, or a deletion, at once
                return None
            if _code(error) not in ("PreconditionFailed", "412"):
                raise
        else:
            return mark
        try:
            return str(self._head(name)["Metadata"].get(_MARK, ""))
        except ClientError as error:
            if not _is_missing(error):
                raise
            return None

    def _head(self, name: str) -> dict[str, Any]:
        said: dict[str, Any] = self._client().head_object(**self._named(name))
        return said

    def _fetched(self, name: str, **more: str) -> bytes:
        """The bytes of an object. botocore repeats a request that failed, but not an answer that broke off midway."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        for left in reversed(range(self.folder.options.attempts)):
            answer = self._client().get_object(**self._named(name), **more)
            try:
                return bytes(answer["Body"].read())
            except (HTTPClientError, IncompleteReadError):
                if not left:
                    raise
            finally:
                answer["Body"].close()
        raise AssertionError("attempts are one or more")

    def _names(self, folder: str, kind: str, field: str) -> Iterator[str]:
        """What a listing shows of a folder, page after page, without names that are none of ours."""
        start = f"{self.folder.key(folder) if folder else self.folder.prefix}/".lstrip("/")
        where = {"Bucket": self.folder.bucket, "Prefix": start, "Delimiter": "/"}
        with _told(self.folder, folder):
            for page in self._client().get_paginator("list_objects_v2").paginate(**where):
                names = (item[field].removeprefix(start) for item in page.get(kind, []))
                yield from (n for n in names if n and not n.startswith("."))

    # ---- named points: as on a folder, where an object is written, is safe but not seen yet, and is seen ------------

    def _begin(self) -> None:
        with store_trouble(self.folder):
            reach("object.write")
            reach("object.synced")

    def _done(self) -> None:
        with store_trouble(self.folder):
            reach("object.renamed")


@functools.lru_cache(maxsize=1024)
def _require_conditional(folder: S3Folder, pid: int) -> None:
    """Refuse a store that would overwrite: once per folder and process, by one or two requests (the first time three).

    A store that checks and writes in two steps passes: that cannot be seen from outside.
    """
    del pid  # part of the cache's key: a fork asks again
    objects, said = S3Objects(folder), b"reelmill tries here whether this store honours If-None-Match\n"
    if objects._put_new(PROBE, said) and objects._put_new(PROBE, said):
        raise StoreUnusable(str(folder), seen="it ignores If-None-Match: one object was made twice", do=_NO_LEASE)


@functools.cache
def _require_botocore() -> None:
    try:
        import botocore.session  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise StoreUnusable(SCHEME, seen=str(error), do="pip install 'reelmill[s3]'") from error


@functools.lru_cache(maxsize=16)
def _client(options: S3Options, pid: int) -> Any:
    """A client, shared by the threads of one process. Tries, pauses and time-outs are all bounded.

    Checksums that only Amazon's own S3 knows are off: Content-MD5 guards what is sent, records and names what is read.
    """
    del pid  # part of the cache's key: connections do not survive a fork
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    own = options.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        connect_timeout=options.connect_s,
        read_timeout=options.read_s,
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        max_pool_connections=_CONNECTIONS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if own else "auto"},
    )
    named = {"region_name": options.region or None, "endpoint_url": options.endpoint or None}
    try:
        # A session of its own: clients may be shared by threads, sessions may not.
        return botocore.session.get_session().create_client("s3", config=config, **named)
    except (BotoCoreError, ValueError) as error:  # a profile, a region or an endpoint that makes no sense
        raise StoreUnusable(SCHEME, seen=_one_line(error), do=_SETTINGS) from error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_missing(error: Any) -> bool:
    return _code(error) in ("NoSuchKey", "404")


@contextlib.contextmanager
def _told(folder: S3Folder, name: str) -> Iterator[None]:
    """Turn what botocore says into FileNotFoundError, or into one clear line about the store."""
    _require_botocore()
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        if _is_missing(error):
            raise FileNotFoundError(errno.ENOENT, "no such object", f"{folder}/{name}") from error
        raise StoreUnusable(str(folder), seen=_one_line(error), do=_TODO.get(_code(error), _LATER)) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreUnusable(str(folder), seen=_one_line(error), do=_KEYS) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise StoreUnusable(str(folder), seen=_one_line(error), do=_LATER) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
