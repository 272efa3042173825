"""What datasets offer beyond files: revisions, links, registered sources, search, sharing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapsefs.errors import InvalidRequestError, UnsupportedError, error_path
from synapsefs.location import Location, Root
from synapsefs.verbs.base import NO_VERSIONS, Core
from synapsefs.verbs.calls import mirrored

NOT_SHARED = "collections are not shared one by one"


@mirrored("revisions", "link", "register", "search", "share")
class EntryVerbs(Core):
    """Verbs of entries in datasets; of collections they raise ``UnsupportedError``."""

    async def _revisions(self, path: str, drafts: bool = False) -> list[dict[str, Any]]:
        """List the revisions of a file, newest first.

        Parameters
        ----------
        path
            A file in a dataset.
        drafts
            Include what is not published; only who may change the file sees them.

        Returns
        -------
        list of dict
            ``version`` (what ``open``, ``cat_file`` and ``info`` take), ``revision`` (its number),
            ``base_version``, ``current``, ``created``, ``published``, ``created_by``, ``size``
            and ``checksum`` where they are known, ``metadata``.

        Raises
        ------
        FolderError
            For a directory.
        """
        entry = await self._entry(path)
        if entry.location.root is None:
            raise UnsupportedError(NO_VERSIONS, path)
        datasets = await self._datasets(entry.location, NO_VERSIONS)
        with error_path(entry.location.path):
            return await datasets.revisions(entry, drafts=drafts)

    async def _link(
        self,
        target: str,
        path: str,
        instructions: str | None = None,
        api_key: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Note a URL as an entry of a dataset; nothing is fetched from it.

        Parameters
        ----------
        target, path
            The URL, and where the entry appears.
        instructions
            How to use what is there.
        api_key
            A key for it, which the service keeps with the entry; ``info`` does not show it,
            ``getxattr(path, "api_key")`` does.
        kwargs
            ``description``, ``tags`` and ``metadata``.

        Returns
        -------
        dict
            The entry's ``info``, with ``islink`` and ``destination``.

        Raises
        ------
        InvalidRequestError
            When the target is no URL.
        AlreadyExistsError
            When something is there.
        """
        location = Location.parse(path)
        datasets = await self._datasets(location)
        options = {**kwargs, "instructions": instructions, "api_key": api_key}
        with error_path(location.path):
            await datasets.link(location, target, options)
        return await self._details(path)

    async def _register(
        self,
        path: str,
        storage_type: str,
        content_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        location: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        content_schema: Any = None,
    ) -> dict[str, Any]:
        """Note a source outside the service as an entry of a dataset; no byte is moved.

        Parameters
        ----------
        path
            Where the entry appears.
        storage_type
            ``gcs``, ``pg_table``, ``bigquery`` or ``elastic_search``.
        content_type
            As the service calls it; told by the rest when left out.
        metadata
            ``gcs``: ``bucket_name`` and perhaps ``prefix``; ``pg_table``: ``table_name`` and
            ``row_id``; ``bigquery``: ``project_id``, ``dataset_id`` and ``table_id``; further keys
            pass as they are.
        location
            ``gcs``: the name of one object; a name that ends in ``/`` is a prefix, and a
            ``gs://bucket/name`` tells both. Without a location the entry is a directory of all
            objects with the prefix, or of the whole bucket.
        description, tags, content_schema
            Of the entry, and of its content.

        Returns
        -------
        dict
            The entry's ``info``, with ``connection``.

        Raises
        ------
        InvalidRequestError
            Naming everything that is missing or wrong, before anything is sent; or in the
            service's words, where it cannot reach the source.
        AlreadyExistsError
            When something is there.
        """
        place = Location.parse(path)
        datasets = await self._datasets(place)
        source = {
            "storage_type": storage_type,
            "content_type": content_type,
            "metadata": metadata,
            "location": location,
            "description": description,
            "tags": tags,
            "content_schema": content_schema,
        }
        with error_path(place.path):
            await datasets.register(place, source)
        return await self._details(path)

    async def _search(
        self,
        path: str = Root.DATASETS.value,
        query: str | None = None,
        criteria: Any = None,
        match: str = "all",
        similar_to: str | Sequence[float] | None = None,
        size: int = 10,
        highlight: bool | Mapping[str, Any] = False,
        min_score: float | None = None,
        tags: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Find entries of datasets, best first.

        The service's search lags behind writes by moments: that something is not found does not
        prove that it is not there.

        Parameters
        ----------
        path
            Where to search: everywhere, in a dataset, or below a directory.
        query
            Words that name, description, content, file path or tags shall hold.
        criteria
            ``{field: value}``, or a list of ``(field, operator, value)``; operators are
            ``equals``, ``contains``, ``fulltext``, ``starts_with``, ``ends_with``,
            ``greater_than``, ``less_than``, ``between`` and ``in``.
        match
            ``all`` or ``any`` of the criteria.
        similar_to
            An embedding, or the path of an entry that has one: find the nearest. Takes no
            ``query`` and ``criteria``.
        size
            Most hits, up to 1000.
        highlight
            True to have ``highlights`` in hits: fragments by field, with what matched between
            ``<em>`` and ``</em>``; or a mapping of ``fields``, ``fragment_size`` (characters)
            and ``num_fragments``.
        min_score, tags
            Least cosine of a similar entry, 0.7 when left out; tags of which it has at least one.

        Returns
        -------
        list of dict
            The hits' ``info``, with ``score``.

        Raises
        ------
        InvalidRequestError
            For criteria that make no sense, before anything is sent.
        """
        location = Location.parse(path)
        if location.root is None:
            location = Location((Root.DATASETS.value,))
        datasets = await self._datasets(location)
        with error_path(location.path):
            if similar_to is None:
                hits = await datasets.search(
                    location, query, criteria, match=match, size=size, highlight=highlight
                )
            elif query is not None or criteria is not None:
                raise InvalidRequestError("similar_to takes no query and no criteria")
            else:
                like = await self._entry(similar_to) if isinstance(similar_to, str) else similar_to
                hits = await datasets.similar(
                    location, like, size=size, min_score=min_score, tags=tags
                )
        return [hit.info() for hit in hits]

    async def _share(
        self,
        path: str,
        status: str,
        users: Sequence[str] | None = None,
        organizations: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Say who may read an entry besides its owner.

        Parameters
        ----------
        path
            A file or directory in a dataset; what a directory holds is not meant.
        status
            ``private``, ``public`` or ``shared``.
        users, organizations
            With whom, for ``shared``.

        Returns
        -------
        dict
            The entry's ``info``, with ``share_status``.

        Raises
        ------
        InvalidRequestError
            For another status, or names without ``shared``.
        """
        entry = await self._entry(path, refresh=True)
        if entry.location.root is None:
            raise InvalidRequestError("the root is not shared", path)
        datasets = await self._datasets(entry.location, NOT_SHARED)
        with error_path(entry.location.path):
            await datasets.share(entry, status, {"users": users, "organizations": organizations})
        return await self._details(path)

    async def _details(self, path: str) -> dict[str, Any]:
        entry = await self._entry(path)
        return (await (await self._service(entry.location)).with_details(entry)).info()
